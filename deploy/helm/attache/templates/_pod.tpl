{{- /* Written by deploy/helm/generate.py: change it there. */ -}}
{{- define "attache.fixedEnv" -}}
["ATTACHE_POLICY", "ATTACHE_STATE_DIR", "ATTACHE_SOCKET", "ATTACHE_SOCKET_MODE", "ATTACHE_ENVOY_ADMIN", "ATTACHE_CA_DIR", "ATTACHE_TRUST_DIR", "ATTACHE_METRICS", "ATTACHE_DNS_STUB", "ATTACHE_DENIED_CERTIFICATES", "ATTACHE_POD_NAMESPACE", "ATTACHE_POD_SERVICE_ACCOUNT", "ATTACHE_POD_LABELS", "POD_NAME", "POD_UID", "NODE_NAME", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "ATTACHE_SINKS"]
{{- end }}

{{- define "attache.initContainers" -}}
- name: attache-net
  image: {{ include "attache.image" (list . "net") }}
  args:
  - net
  - apply
  securityContext:
    runAsUser: 0
    runAsGroup: 0
    runAsNonRoot: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop:
      - ALL
      add:
      - NET_ADMIN
      - SETGID
      - SETUID
    seccompProfile:
      type: RuntimeDefault
  resources: {{ .Values.resources.net | toJson }}
  imagePullPolicy: {{ .Values.images.pullPolicy }}
- name: attache
  image: {{ include "attache.image" (list . "attache") }}
  restartPolicy: Always
  args:
  - serve
  env:
  - name: ATTACHE_POLICY
    value: /etc/attache/policy
  - name: ATTACHE_STATE_DIR
    value: /var/lib/attache
  - name: ATTACHE_SOCKET
    value: /run/attache/service.sock
  - name: ATTACHE_SOCKET_MODE
    value: '0660'
  - name: ATTACHE_ENVOY_ADMIN
    value: /run/attache/admin.sock
  - name: ATTACHE_CA_DIR
    value: /run/attache-ca
  - name: ATTACHE_TRUST_DIR
    value: /run/attache-trust
  - name: ATTACHE_METRICS
    value: 0.0.0.0:9464
  - name: ATTACHE_DNS_STUB
    value: 127.0.0.1:15053,[::1]:15053
  - name: ATTACHE_DENIED_CERTIFICATES
    value: '32'
  - name: ATTACHE_POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  - name: ATTACHE_POD_SERVICE_ACCOUNT
    valueFrom:
      fieldRef:
        fieldPath: spec.serviceAccountName
  - name: ATTACHE_POD_LABELS
    value: /etc/attache/pod/labels
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: POD_UID
    valueFrom:
      fieldRef:
        fieldPath: metadata.uid
  - name: NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
  - name: OTEL_SERVICE_NAME
    value: attache
  - name: OTEL_RESOURCE_ATTRIBUTES
    value: k8s.namespace.name=$(ATTACHE_POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE_NAME)
  {{- include "attache.env" . | nindent 2 }}
  ports:
  - name: attache-metrics
    containerPort: 9464
    protocol: TCP
  startupProbe:
    httpGet:
      path: /readyz
      port: 9464
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet:
      path: /livez
      port: 9464
    periodSeconds: 10
    timeoutSeconds: 2
  readinessProbe:
    httpGet:
      path: /readyz
      port: 9464
    periodSeconds: 10
    timeoutSeconds: 2
  securityContext:
    runAsUser: 1338
    runAsGroup: 1338
    runAsNonRoot: true
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop:
      - ALL
    seccompProfile:
      type: RuntimeDefault
  resources: {{ .Values.resources.attache | toJson }}
  volumeMounts:
  - name: attache-run
    mountPath: /run/attache
  - name: attache-state
    mountPath: /var/lib/attache
  - name: attache-ca
    mountPath: /run/attache-ca
  - name: attache-trust
    mountPath: /run/attache-trust
  - name: attache-policy
    mountPath: /etc/attache/policy
    readOnly: true
  - name: attache-credentials
    mountPath: /etc/attache/credentials
    readOnly: true
  - name: attache-pod
    mountPath: /etc/attache/pod
    readOnly: true
  imagePullPolicy: {{ .Values.images.pullPolicy }}
- name: attache-envoy
  image: {{ include "attache.image" (list . "envoy") }}
  restartPolicy: Always
  args:
  - -c
  - /etc/attache-envoy/envoy.yaml
  - --log-level
  - warning
  - --concurrency
  - '2'
  - --disable-hot-restart
  - --file-flush-interval-msec
  - '1000'
  startupProbe:
    httpGet:
      path: /readyz/envoy
      port: 9464
    periodSeconds: 1
    failureThreshold: 60
  securityContext:
    runAsUser: 101
    runAsGroup: 1338
    runAsNonRoot: true
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop:
      - ALL
    seccompProfile:
      type: RuntimeDefault
  resources: {{ .Values.resources.envoy | toJson }}
  volumeMounts:
  - name: attache-run
    mountPath: /run/attache
  - name: attache-envoy
    mountPath: /etc/attache-envoy
    readOnly: true
  imagePullPolicy: {{ .Values.images.pullPolicy }}
{{- end }}
{{- define "attache.volumes" -}}
- name: attache-run
  emptyDir:
    medium: Memory
    sizeLimit: 64Mi
- name: attache-state
  emptyDir:
    sizeLimit: 1Gi
- name: attache-ca
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: attache-trust
  emptyDir:
    medium: Memory
    sizeLimit: 4Mi
- name: attache-policy
  configMap:
    name: {{ include "attache.policyName" . }}
- name: attache-envoy
  configMap:
    name: {{ "attache-envoy" }}
- name: attache-credentials
  secret:
    secretName: {{ include "attache.credentialsName" . }}
    optional: true
    defaultMode: 292
- name: attache-pod
  downwardAPI:
    items:
    - path: labels
      fieldRef:
        fieldPath: metadata.labels
{{- end }}
{{- define "attache.agent.env" -}}
- name: SSL_CERT_FILE
  value: /run/attache-trust/bundle.pem
- name: REQUESTS_CA_BUNDLE
  value: /run/attache-trust/bundle.pem
- name: CURL_CA_BUNDLE
  value: /run/attache-trust/bundle.pem
- name: PIP_CERT
  value: /run/attache-trust/bundle.pem
- name: GIT_SSL_CAINFO
  value: /run/attache-trust/bundle.pem
- name: AWS_CA_BUNDLE
  value: /run/attache-trust/bundle.pem
- name: GRPC_DEFAULT_SSL_ROOTS_FILE_PATH
  value: /run/attache-trust/bundle.pem
- name: CARGO_HTTP_CAINFO
  value: /run/attache-trust/bundle.pem
- name: NIX_SSL_CERT_FILE
  value: /run/attache-trust/bundle.pem
- name: HTTPLIB2_CA_CERTS
  value: /run/attache-trust/bundle.pem
- name: CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE
  value: /run/attache-trust/bundle.pem
- name: NODE_EXTRA_CA_CERTS
  value: /run/attache-trust/ca.pem
- name: DENO_CERT
  value: /run/attache-trust/ca.pem
- name: JAVA_TOOL_OPTIONS
  value: -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStore=/run/attache-trust/bundle.p12
{{- end }}
{{- define "attache.agent.volumeMount" -}}
- name: attache-trust
  mountPath: /run/attache-trust
  readOnly: true
{{- end }}
{{- define "attache.agent.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
  - ALL
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

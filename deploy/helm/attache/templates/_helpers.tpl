{{- /* An image: (list . "attache"). */ -}}
{{- define "attache.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.images (index . 1) -}}
{{- with $root.Values.images.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag }}{{ end -}}
{{- end }}

{{- define "attache.policyName" -}}
{{- .Values.policy.existingConfigMap | default "attache-policy" -}}
{{- end }}

{{- define "attache.credentialsName" -}}
{{- .Values.credentials.existingSecret -}}
{{- end }}

{{- /* Variables of attaché besides those of sidecars.yaml, as a map. */ -}}
{{- define "attache.moreEnv" -}}
{{- $env := deepCopy .Values.env -}}
{{- with .Values.sinks }}{{ $_ := set $env "ATTACHE_SINKS" (join "," .) }}{{ end -}}
{{- $env | toJson -}}
{{- end }}

{{- define "attache.env" -}}
{{- range $name, $value := include "attache.moreEnv" . | fromJson }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* Namespaces with agents, as {"namespaces": […]}: those listed, or the release's. */ -}}
{{- define "attache.namespaces" -}}
{{- $all := .Values.namespaces | default (list (dict "name" .Release.Namespace)) -}}
{{- dict "namespaces" $all | toJson -}}
{{- end }}

{{- define "attache.demoNamespace" -}}
{{- (first (include "attache.namespaces" . | fromJson).namespaces).name -}}
{{- end }}

{{- define "attache.injectionVersion" -}}
{{- if semverCompare ">=1.36-0" .Capabilities.KubeVersion.Version -}}
admissionregistration.k8s.io/v1
{{- else if semverCompare ">=1.34-0" .Capabilities.KubeVersion.Version -}}
admissionregistration.k8s.io/v1beta1
{{- else -}}
{{- fail (printf "injection.enabled needs Kubernetes 1.34 or newer, and this is %s: use `attache inject`" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end }}

{{- /* The policy of a namespace: (list . "agents"). */ -}}
{{- define "attache.policy" -}}
{{- $root := index . 0 -}}
{{- if not $root.Values.policy.existingConfigMap }}
{{- $files := $root.Values.policy.files }}
{{- if not $files }}
{{- $text := $root.Files.Get "files/policy.yaml" }}
{{- if $root.Values.demo.enabled }}
{{- $text = $root.Files.Get "files/demo/policy.yaml" | replace "namespace: attache-demo" (printf "namespace: %s" (include "attache.demoNamespace" $root)) }}
{{- end }}
{{- $files = dict "policy.yaml" $text }}
{{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: attache-policy
  namespace: {{ index . 1 }}
data:
  {{- range $name, $text := $files }}
  {{ $name }}: |
    {{- $text | trimSuffix "\n" | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

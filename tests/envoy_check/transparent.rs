//! The listener for redirected connections, as `attache envoy render --transparent` writes it.

use super::*;

/// For traffic that a firewall redirects, in a pod whose attaché is another user than Envoy.
fn for_redirects() -> Bootstrap {
    let transparent = ["127.0.0.1:10443", "[::1]:10443"].map(|address| address.parse().unwrap());
    Bootstrap { transparent: transparent.into(), admin_mode: 0o660, ..Bootstrap::default() }
}

#[test]
fn a_file_rendered_for_redirects_has_no_finding() {
    let found = check(&for_redirects().render().unwrap()).unwrap();
    assert!(found.is_empty(), "{}", show(&found));
    let open = Bootstrap { transparent: vec!["0.0.0.0:10443".parse().unwrap()], ..for_redirects() };
    let found = check(&open.render().unwrap()).unwrap();
    assert_eq!(found.len(), 1, "{}", show(&found));
    assert!(found[0].message.contains("other machines"), "{}", show(&found));
    assert_eq!(findings(&rendered(&Bootstrap { admin_mode: 0o666, ..for_redirects() })).len(), 1);
}

#[test]
fn each_weakening_of_the_transparent_listener_is_found() {
    let listener = "/static_resources/listeners/2";
    let tls = format!("{listener}/filter_chains/0/filters/0/typed_config");
    let plain = format!("{listener}/filter_chains/1/filters/0/typed_config");
    let verdict = "http_filters/0/typed_config";
    for (pointer, value, says) in [
        (
            format!("{listener}/listener_filters/0"),
            json!({"name": "x", "typed_config": {"@type": "type.googleapis.com/x"}}),
            "not known",
        ),
        (format!("{listener}/additional_addresses/0/address/socket_address/address"), json!("::"), "other machines"),
        (format!("{listener}/enable_reuse_port"), json!(true), "another process"),
        (format!("{tls}/{verdict}/grpc_service/initial_metadata/0/value"), json!("tls"), "by which door"),
        (format!("{plain}/{verdict}/grpc_service/initial_metadata/0/value"), json!("transparent-tls"), "by which door"),
        (
            format!("{tls}/{verdict}/request_attributes"),
            json!(["source.address", "destination.address"]),
            "does not see",
        ),
        (format!("{plain}/{verdict}/request_attributes"), json!(["source.address"]), "does not see"),
        // Without the gate, what has no verdict goes where the agent dialled.
        (format!("{tls}/http_filters/1"), Value::Null, "gate"),
        (format!("{plain}/http_filters/1"), Value::Null, "gate"),
        // The proxy's listener is for this machine; another address would be one more door.
        ("/static_resources/listeners/0/additional_addresses".into(), json!([]), "not known"),
    ] {
        let mut document = rendered(&for_redirects());
        match &value {
            Value::Null => remove(&mut document, &pointer),
            value => set(&mut document, &pointer, value.clone()),
        }
        let found = findings(&document);
        assert!(
            found.iter().any(|finding| finding.message.contains(says)),
            "{pointer} = {value}: nothing says `{says}`\n{}",
            show(&found)
        );
    }
}

#[test]
fn nothing_of_the_transparent_listener_can_be_removed_unnoticed() {
    let at = "/static_resources/listeners/2";
    let (document, mut all) = (rendered(&for_redirects()), Vec::new());
    pointers(document.pointer(at).unwrap(), at.to_owned(), &mut all);
    assert!(all.len() > 300, "{}", all.len());
    let own = ["additional_addresses", "additional_addresses/0", "freebind", "name", "listener_filters/0/name"]
        .map(|own| format!("{at}/{own}"));
    let mut unnoticed = Vec::new();
    for pointer in &all {
        let mut document = document.clone();
        remove(&mut document, pointer);
        // What holds of the listener for tunnels holds here, too.
        let like_a_tunnels = pointer.replacen("/listeners/2", "/listeners/1", 1);
        let is_harmless = own.contains(pointer) || HARMLESS.iter().any(|(pattern, _)| fits(pattern, &like_a_tunnels));
        if findings(&document).is_empty() && !is_harmless {
            unnoticed.push(pointer.as_str());
        }
    }
    assert!(unnoticed.is_empty(), "removed without a finding:\n{}", unnoticed.join("\n"));
}

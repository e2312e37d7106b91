//! An upstream that sends an agent elsewhere sends it nowhere that policy does not lead, and no credential with it.

use crate::support::upstream::Answer;
use crate::support::{Place, Protocol};

const POLICY: &str = "
allowedDomains:
  - {pattern: api.example.com, httpRestrictions: [{method: GET, path: '/to/**'}, {method: GET, path: /end}]}
  - other.example
  - 169.254.169.254
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: api.example.com, headerName: Authorization, headerFormat: 'Bearer {value}'}]}
";

#[tokio::test]
async fn a_redirect_leads_nowhere_that_policy_does_not() {
    let place = Place::with(POLICY, ["api.example.com", "other.example"], |setup| setup.env("KEY", "s3cret")).await;
    for (number, (location, expected)) in [
        ("https://evil.example/", Err("domain_not_allowed")),
        ("http://evil.example/", Err("domain_not_allowed")),
        ("//evil.example/", Err("domain_not_allowed")),
        ("http://169.254.169.254/latest/meta-data/", Err("address_forbidden")),
        // What no client writes otherwise: curl makes an address of it.
        ("http://2852039166/", Err("address_forbidden")),
        ("https://api.example.com/admin", Err("route_not_allowed")),
        ("/to/../admin", Err("route_not_allowed")),
        ("https://api.example.com:8443/end", Err("domain_not_allowed")),
        ("https://other.example/", Ok(None)),
        ("/end", Ok(Some("Bearer s3cret"))),
    ]
    .into_iter()
    .enumerate()
    {
        let start = format!("/to/{number}");
        place.upstream.tell(&start, Answer::new("text/plain", "").status(307).field("location", location));
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let before = place.arrived().len();
            let url = format!("https://api.example.com{start}");
            // As careless as a client can be: it follows everywhere, with every field.
            let careless = [protocol.flag(), "--location-trusted", "-H", "Authorization: Bearer mine", &url];
            let answer = place.attache.curl(careless).await;
            let arrived = place.arrived().split_off(before);
            assert_eq!(arrived[0].path, start, "{location}");
            match expected {
                Err(reason) => {
                    assert_eq!(arrived.len(), 1, "{location}: {arrived:?}");
                    let record = place.attache.records().pop().unwrap();
                    assert_eq!(record["reason"], reason, "{location}: {answer:?}");
                }
                Ok(credential) => {
                    assert_eq!((answer.status, arrived.len()), (200, 2), "{location}: {answer:?}");
                    let own = credential.unwrap_or("Bearer mine");
                    assert_eq!(arrived[1].header("authorization"), Some(own), "{location}");
                }
            }
        }
    }
}

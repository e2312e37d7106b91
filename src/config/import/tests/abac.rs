use super::*;

const FILE: &str = "example.policygroup.json";
/// The token of the documented example, which is never written out again.
const TOKEN: &str = "proxy-abc123";

/// The documented example: one route with a filter, one that is refused.
fn example() -> String {
    format!(
        r#"{{
  "localToken": "{TOKEN}",
  "policies": [
    {{
      "baseUrl": "https://api.example.com",
      "localUpstreamTokenKey": "EXAMPLE_API_KEY",
      "rules": [
        {{
          "route": "/v1/users",
          "method": "GET",
          "action": "allow",
          "response_filter": {{"type": "include_fields", "fields": ["id", "name", "email"]}}
        }},
        {{"route": "/v1/users/*", "method": "DELETE", "action": "deny"}}
      ]
    }}
  ]
}}"#
    )
}

#[test]
fn dbg() {
    let o = Options { without_response_filters: true, ..options() };
    let (p, w) = imported(Format::Abac, &[(FILE, &example())], &o);
    println!("{p}\n{w:#?}");
    println!("{}", refused(Format::Abac, &[(FILE, &example())], &options()));
}

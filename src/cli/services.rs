//! `attache services`: the APIs that credentials can call by name.

use std::io::Write;
use std::process::ExitCode;

use crate::config::catalogue::{Service, built_in};
use crate::pipeline::credential::Slot;
use serde_json::json;

use super::output::{PageFormat, json_line};
use super::{Failure, Outcome};

/// List the services that a credential can name
///
/// `service: NAME` in a credential stands for the hosts of that API and the part of the request that carries its key.
/// Those without hosts have another one for every customer: a policy names its own in the credential's `injections`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache services
  attache services -o json datadog | jq -r '.[].hosts[]'")]
pub struct Args {
    /// Only those whose name has one of these texts in it
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Form of the output; json is one array of {name, hosts, path, header or query, format, documentation, note}
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: PageFormat,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|part| name.contains(part.as_str()));
    let services: Vec<_> = built_in().iter().filter(|(name, _)| wanted(name)).collect();
    if services.is_empty() {
        return Err(Failure::runtime("no service has such a name; `attache services` lists all"));
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        PageFormat::Text => write!(out, "{}", text(&services))?,
        PageFormat::Json => {
            let services: Vec<_> = services.iter().map(|(name, service)| object(name, service)).collect();
            writeln!(out, "{}", json_line(&services)?)?;
        }
        PageFormat::Markdown => write!(out, "{}", markdown(&services))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(services: &[(&str, &Service)]) -> String {
    let rows: Vec<_> = services.iter().map(|(name, service)| (*name, slot(service), hosts(service, ", "))).collect();
    let width = |column: &dyn Fn(&(&str, String, String)) -> usize| rows.iter().map(column).max().unwrap_or_default();
    let (names, slots) = (width(&|row| row.0.len()).max(4), width(&|row| row.1.len()));
    let mut lines = format!("{:names$}  {:slots$}  HOSTS\n", "NAME", "KEY GOES IN");
    for (name, slot, hosts) in &rows {
        lines.push_str(&format!("{name:names$}  {slot:slots$}  {}\n", if hosts.is_empty() { "-" } else { hosts }));
    }
    lines
}

fn object(name: &str, service: &Service) -> serde_json::Value {
    let hosts: Vec<_> = service.hosts.iter().map(ToString::to_string).collect();
    let (header, query) = match &service.slot {
        Slot::Header(name) => (Some(name), None),
        Slot::Query(name) => (None, Some(name)),
    };
    json!({
        "name": name,
        "hosts": hosts,
        "path": service.written_path,
        "header": header,
        "query": query,
        "format": service.written,
        "documentation": service.documentation,
        "note": service.note,
    })
}

fn markdown(services: &[(&str, &Service)]) -> String {
    let mut page = String::from(
        "# Services\n\n\
         What `service:` in a credential stands for: the hosts that get the key, all of them over TLS on port 443, and\n\
         the part of the request that carries it. A service without hosts has another one for every customer: name\n\
         yours in the credential's `injections`, which then need neither header nor format, or under `services`. This\n\
         page is what `attache services -o markdown` prints.\n\n\
         | service | hosts | key goes in | |\n| --- | --- | --- | --- |\n",
    );
    for (name, service) in services {
        let documentation = service.documentation.as_deref().unwrap_or_default();
        let note = service.note.as_deref().map(|note| format!("; {note}")).unwrap_or_default();
        let hosts = hosts(service, "`<br>`");
        let hosts = if hosts.is_empty() { "yours".to_owned() } else { format!("`{hosts}`") };
        let slot = slot(service);
        page.push_str(&format!("| `{name}` | {hosts} | `{slot}` | [documentation]({documentation}){note} |\n"));
    }
    page
}

/// The hosts, each with the path it is for.
fn hosts(service: &Service, between: &str) -> String {
    let path = service.written_path.as_deref().unwrap_or_default();
    service.hosts.iter().map(|host| format!("{host}{path}")).collect::<Vec<_>>().join(between)
}

fn slot(service: &Service) -> String {
    match &service.slot {
        Slot::Header(name) => format!("{name}: {}", service.written),
        Slot::Query(name) => format!("?{name}={}", service.written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_services_is_what_the_command_prints() {
        let services: Vec<_> = built_in().iter().collect();
        let page = include_str!("../../docs/services.md");
        assert!(page == markdown(&services), "run `attache services -o markdown >docs/services.md`");
    }

    #[test]
    fn a_service_is_shown_with_its_hosts_and_its_slot() {
        let of = |name: &str| built_in().iter().find(|(known, _)| *known == name).unwrap();
        let services = [of("gitlab"), of("jira"), of("serpapi")];
        assert_eq!(
            text(&services),
            "NAME     KEY GOES IN                            HOSTS\n\
             gitlab   private-token: {value}                 gitlab.com/api/**\n\
             jira     authorization: Basic {base64:{value}}  -\n\
             serpapi  ?api_key={value}                       serpapi.com\n"
        );
        let gitlab = object(services[0].0, services[0].1);
        assert_eq!((&gitlab["header"], &gitlab["query"]), (&json!("private-token"), &json!(null)));
        assert_eq!((&gitlab["hosts"], &gitlab["path"]), (&json!(["gitlab.com"]), &json!("/api/**")));
    }
}

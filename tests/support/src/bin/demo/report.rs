//! What a demo tells its user.

use std::fs;
use std::path::Path;

use standins::headlamp;
use support::client::Call;

use crate::{Failure, NAMESPACE, PORT, SERVICE};

/// Prints what to try, and writes the variables when all of it is there.
pub(crate) async fn report(variables: &[(&str, String)], folder: &Path) -> Result<(), Failure> {
    let value = |name: &str| {
        variables
            .iter()
            .find(|(other, _)| *other == name)
            .map_or("", |(_, value)| value.as_str())
    };
    for (name, value) in variables {
        println!("{name}={value}");
    }
    let file = folder.join("demo.env");
    println!(
        "\nThe same as shell variables, for the lines below:\n  . {}",
        file.display()
    );
    let bearer = |name: &str| format!("Bearer {}", value(name));
    let cpu = "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))";
    let proxied =
        format!("/clusters/main/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}:{PORT}/proxy");
    for (who, url, shown, query, header, content) in [
        (
            "The cluster-wide viewer, directly",
            value("PROXY_URL").to_owned(),
            "$PROXY_URL".to_owned(),
            "count(up)",
            ("authorization", "Authorization: Bearer $VIEWER_TOKEN"),
            bearer("VIEWER_TOKEN"),
        ),
        (
            "The viewer of team-a, through Headlamp and the API server",
            format!("{}{proxied}", value("HEADLAMP_URL")),
            format!("$HEADLAMP_URL{proxied}"),
            cpu,
            ("cookie", "Cookie: headlamp-auth-main.0=$TEAM_A_TOKEN"),
            headlamp::cookie_header("main", value("TEAM_A_TOKEN")),
        ),
        (
            "The stranger, directly",
            value("PROXY_URL").to_owned(),
            "$PROXY_URL".to_owned(),
            "up",
            ("authorization", "Authorization: Bearer $STRANGER_TOKEN"),
            bearer("STRANGER_TOKEN"),
        ),
    ] {
        let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let request = format!("{url}/api/v1/query?query={encoded}");
        let answer = Call::get(&request).header(header.0, &content);
        let answer = answer.try_send().await?;
        let mut body: String = answer.text().trim().chars().take(400).collect();
        if body.len() == 400 {
            body.push_str("...");
        }
        println!(
            "\n# {who}:\ncurl -sG -H \"{}\" \"{shown}/api/v1/query\" --data-urlencode 'query={query}'\n\
             # answers {} {body}",
            header.1,
            answer.status.as_u16()
        );
    }
    let mut text = String::new();
    for (name, value) in variables {
        text += &format!("{name}='{value}'\n");
    }
    let unfinished = folder.join("demo.env.new");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, file)?;
    println!(
        "\nThree people and one pod, to look at: {}",
        value("PAGE_URL")
    );
    println!("\nReady. Ctrl-C ends all of it.");
    Ok(())
}

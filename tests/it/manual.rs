//! What is made of the command line's description: the manual page, completions, and what documents say of exit
//! codes and overrides.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use prom_rbac_proxy::cli::args::{Arguments, Outcome};

use crate::commands::{execute, text};
use support::files::binary;
use support::scratch;

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

fn printed(arguments: &[&str]) -> String {
    let output = execute(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// What a program says of a text, or nothing where it is not installed: of groff not every system has all.
fn judged(program: &str, arguments: &[&str], input: &str) -> Option<(bool, String, String)> {
    if !standins::process::installed(&[program]) {
        return None;
    }
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    Some((
        output.status.success(),
        said.to_owned(),
        complained.to_owned(),
    ))
}

/// Every command with its long options and the names of its values.
fn described() -> Vec<(String, Vec<String>)> {
    let mut command = Arguments::command();
    command.build();
    let commands = command.get_subcommands().map(|command| {
        let options = command.get_arguments();
        let options = options.filter_map(|option| Some(format!("--{}", option.get_long()?)));
        (command.get_name().to_owned(), options.collect())
    });
    commands.collect()
}

#[test]
fn the_manual_pages_have_every_command_option_exit_code_and_section() {
    // roff writes a hyphen as `\-`.
    let page = printed(&["man"]).replace("\\-", "-");
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "SUBCOMMANDS",
        "\"EXIT STATUS\"",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
    ] {
        assert!(page.contains(&format!(".SH {section}\n")), "{section}");
    }
    for (command, options) in described() {
        let name = format!("prom-rbac-proxy-{command}(1)");
        assert!(page.contains(&name), "{name}: {page}");
        let own = printed(&["man", &command]).replace("\\-", "-");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
            assert!(
                own.contains(&format!(".SH {section}\n")),
                "{section}: {own}"
            );
        }
        for option in options {
            assert!(own.contains(&option), "{command} {option}");
        }
    }
    for outcome in Outcome::ALL {
        assert!(page.contains(outcome.meaning()), "{outcome:?}");
    }
    let unknown = execute(&["man", "srve"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = text(&unknown.stderr);
    assert!(said.contains("there is no command srve"), "{said}");
}

#[test]
fn man_and_its_tools_take_the_manual_pages_without_a_warning() {
    for (of, shown) in [
        (&["man"][..], "check --config config.yaml"),
        (&["man", "explain"], "The PromQL expression"),
    ] {
        let page = printed(of);
        for (program, arguments) in [
            ("groff", &["-man", "-ww", "-Tutf8", "-P-c"][..]),
            ("man", &["--local-file", "--warnings", "-"]),
            // It warns of the date that is not given, so that builds are alike, and of clap_mangen's empty paragraphs.
            ("mandoc", &["-Tlint", "-Werror"]),
        ] {
            let Some((success, said, complained)) = judged(program, arguments, &page) else {
                continue;
            };
            assert!(success && complained.is_empty(), "{program}: {complained}");
            if program != "mandoc" {
                assert!(said.contains(shown), "{said}");
            }
        }
    }
}

#[test]
fn each_shell_gets_every_command_and_option() {
    for shell in SHELLS {
        let script = printed(&["completions", shell]);
        for (command, options) in described() {
            assert!(script.contains(&command), "{shell}: {command}");
            for option in options {
                // fish names a long option without its hyphens.
                let option = option.trim_start_matches('-');
                assert!(script.contains(option), "{shell}: {command} {option}");
            }
        }
        // elvish knows the variable that completions are set in only where it talks to a person.
        if !["powershell", "elvish"].contains(&shell)
            && let Some((success, _, complained)) = judged(shell, &["-n"], &script)
        {
            assert!(success && complained.is_empty(), "{shell}: {complained}");
        }
    }
    assert_eq!(execute(&["completions", "tcsh"]).status.code(), Some(2));
}

/// What bash offers for the last of these words, with the script loaded as a user loads it.
fn offered(words: &[&str]) -> BTreeSet<String> {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(\"$BINARY\" completions bash)\n\
         COMP_WORDS=({words}) COMP_CWORD={last}\n\
         complete -p prom-rbac-proxy >/dev/null || exit 1\n\
         \"$(complete -p prom-rbac-proxy | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\" prom-rbac-proxy \
         \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{before}]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words = quoted.join(" "),
        last = words.len() - 1,
        before = words.len() - 2,
    );
    let bash = Command::new("bash")
        .args(["--norc", "-c", &script])
        .env("BINARY", binary())
        .output();
    // The scripts of this repository are written for it.
    let output = bash.expect("bash is installed");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_files() {
    let commands = offered(&["prom-rbac-proxy", ""]);
    for (command, _) in described() {
        assert!(commands.contains(&command), "{command}: {commands:?}");
    }
    let set = |words: &[&str]| offered(words);
    let one = |word: &str| BTreeSet::from([word.to_owned()]);
    assert_eq!(set(&["prom-rbac-proxy", "exp"]), one("explain"));
    assert_eq!(set(&["prom-rbac-proxy", "explain", "--qu"]), one("--query"));
    assert_eq!(set(&["prom-rbac-proxy", "completions", "fi"]), one("fish"));
    let file = scratch("completed.yaml");
    std::fs::write(&file, "").expect("written");
    let file = file.to_str().expect("UTF-8");
    let begun = file.strip_suffix(".yaml").expect("its end");
    assert_eq!(
        set(&["prom-rbac-proxy", "serve", "--config", begun]),
        one(file)
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for arguments in [&["schema"][..], &["man"], &["completions", "bash"]] {
        let mut child = Command::new(binary())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

fn document(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_document_has_every_command_and_exit_code() {
    let document = document("docs/operation.md").replace('`', "");
    for (command, options) in described() {
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| prom-rbac-proxy {command}")));
        let row = row.unwrap_or_else(|| panic!("no row for {command}"));
        for option in options.iter().filter(|option| *option != "--help") {
            assert!(row.contains(option), "{row}: {option}");
        }
    }
    for outcome in Outcome::ALL {
        let row = format!("| {} | {} |", outcome.code(), outcome.meaning());
        assert!(document.contains(&row), "{row}");
    }
}

/// `NAME=VALUE` of every override that a text shows, without those that end in an ellipsis.
fn overrides(text: &str) -> BTreeSet<(String, String)> {
    let words = text.split_whitespace().filter_map(|word| {
        let start = word.find("PROM_RBAC_PROXY_")?;
        let (name, value) = word[start..].split_once('=')?;
        let value = value.trim_end_matches([',', '.', '`']).trim_matches('\'');
        (!value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    words.filter(|(_, value)| value != "http://").collect()
}

#[test]
fn every_override_that_is_shown_somewhere_works() {
    let file = scratch("overridden.yaml");
    std::fs::write(&file, "upstreams: [{url: 'http://127.0.0.1:9'}]\n").expect("written");
    let check = |name: &str, value: &str| {
        Command::new(binary())
            .args(["check", "--config", file.to_str().expect("UTF-8")])
            .env(name, value)
            .output()
            .expect("it runs")
    };
    let page = printed(&["man"]).replace("\\-", "-");
    let mut shown = overrides(&page);
    for path in ["docs/configuration.md", "config/prom-rbac-proxy.yaml"] {
        shown.extend(overrides(&document(path)));
    }
    assert!(shown.len() > 4, "{shown:?}");
    for (name, value) in shown {
        let output = check(&name, &value);
        assert!(
            output.status.success(),
            "{name}={value}: {}",
            text(&output.stderr)
        );
        // One that is read is one whose value can be wrong.
        let output = check(&name, "{}]");
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(
            text(&output.stderr).contains(&name),
            "{}",
            text(&output.stderr)
        );
    }
    let output = check("PROM_RBAC_PROXY_LIMITS__MAX_RANGES", "1h");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("PROM_RBAC_PROXY_LIMITS__MAX_RANGE"), "{said}");
}

//! The configuration: one table, every error at once, the environment on top, nothing unknown accepted.

use halley::config::{self, Config, ConfigError, Discovery, LogFormat, OPTIONS};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn errors(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match Config::from_text(text, environment) {
        Err(ConfigError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("errors were expected: {other:?}"),
    }
}

fn valid(text: &str, environment: &[(&str, &str)]) -> Config {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_text(text, environment).expect("valid")
}

#[test]
fn the_printed_reference_means_the_defaults() {
    let printed = config::reference();
    let read = valid(&printed, &[]);
    let defaults = Config::default();
    for option in OPTIONS.iter() {
        assert_eq!(
            option.value(&read),
            option.value(&defaults),
            "{}",
            option.key
        );
        assert!(printed.contains(&option.variable()), "{}", option.key);
        let line = format!("{} = ", option.name());
        assert!(
            printed
                .lines()
                .any(|found| found.trim_start_matches("# ").starts_with(&line)),
            "{} is not printed",
            option.key
        );
    }
    assert!(
        !read.clustered(),
        "a node with the printed configuration runs alone"
    );
}

#[test]
fn examples_of_options_without_default_are_valid() {
    // Every commented line, made live, is accepted by its type.
    for option in OPTIONS.iter() {
        let Some(example) = option.example else {
            continue;
        };
        let text = format!("[{}]\n{} = {example}", option.section(), option.name());
        if let Err(ConfigError::Invalid(problems)) = Config::from_text(&text, []) {
            let of_type: Vec<_> = problems
                .iter()
                .filter(|problem| {
                    // A file that is not there, or another option that is missing: the type is right.
                    problem.key == option.key
                        && !problem.what.contains("cannot read")
                        && !problem.what.starts_with("is set, but")
                })
                .collect();
            assert!(of_type.is_empty(), "{of_type:?}");
        }
    }
}

#[test]
fn every_option_can_come_from_the_environment() {
    let defaults = Config::default();
    for option in OPTIONS.iter() {
        let Some(value) = option.value(&defaults) else {
            continue;
        };
        let text = match &value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // Secrets, so that naming a mesh option does not fail for want of one.
        let mesh = format!("[mesh]\nsecret = \"{SECRET}\"\nadvertise = \"10.0.0.1:7400\"");
        let read = valid(&mesh, &[(&option.variable(), &text)]);
        assert_eq!(option.value(&read), Some(value), "{}", option.key);
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let read = valid(
        "[session]\ntimeout = 1\nmaxInterval = 2\n[client]\nallowed_origins = [\"http://a\"]",
        &[
            ("HALLEY__SESSION__MAXINTERVAL", "77"),
            (
                "HALLEY__CLIENT__ALLOWED_ORIGINS",
                "https://x.example, https://y.example",
            ),
            ("HALLEY__LOG__FORMAT", "json"),
            ("HALLEY_UNRELATED", "1"),
            ("PATH", "/bin"),
        ],
    );
    assert_eq!(
        (read.session.timeout_ms, read.session.max_interval_ms),
        (1, 77)
    );
    assert_eq!(
        read.client.allowed_origins,
        ["https://x.example", "https://y.example"]
    );
    assert_eq!(read.log.format, LogFormat::Json);
}

#[test]
fn all_errors_are_told_and_each_names_its_key() {
    let told = errors(
        "node = 5\n[client]\nlisten = 8080\nlissen = \"x\"\n[session]\nmaxQueue = \"many\"\ntimeout = -1\n[unheard]\nof = 1\n[mesh.nodes]\nname = \"x\"",
        &[
            ("HALLEY__SESSION__INTERVAL", "soon"),
            ("HALLEY__NO__SUCH", "1"),
        ],
    );
    for key in [
        "node: is a section",
        "client.listen: expected address with port, found an integer",
        "client.lissen: unknown key",
        "session.maxQueue: expected integer, found a string",
        "session.timeout: -1 is out of range",
        "unheard: unknown key",
        "mesh.nodes: unknown key",
        "session.interval: \"soon\"",
        "HALLEY__NO__SUCH: unknown key",
    ] {
        assert!(
            told.iter().any(|line| line.starts_with(key)),
            "{key} is missing in {told:#?}"
        );
    }
}

#[test]
fn keys_of_the_wrong_case_are_unknown() {
    assert!(
        errors("[session]\nmaxinterval = 1", &[])[0]
            .starts_with("session.maxinterval: unknown key")
    );
}

#[test]
fn values_that_cannot_be_are_refused() {
    for (text, key) in [
        ("[client]\npath = \"cometd\"", "client.path"),
        ("[client]\npath = \"/\"", "client.path"),
        (
            "[client]\nallowed_origins = [\"*\"]",
            "client.allowed_origins",
        ),
        (
            "[client]\nallowed_origins = [\"https://a.example/\"]",
            "client.allowed_origins",
        ),
        (
            "[client]\nallowed_origins = \"https://a.example\"",
            "client.allowed_origins",
        ),
        ("[client]\nallowed_origins = [1]", "client.allowed_origins"),
        ("[client]\nurl = \"n1.example\"", "client.url"),
        ("[client]\nmax_connections = 0", "client.max_connections"),
        ("[node]\nname = \"a b\"", "node.name"),
        (
            "[session]\nmaxQueueBytes = 2000\nmaxMessageSize = 3000",
            "session.maxQueueBytes",
        ),
        (
            "[admin]\ntoken_file = \"/no/such/file\"",
            "admin.token_file",
        ),
        ("[log]\nlevel = \"loud\"", "log.level"),
    ] {
        let told = errors(text, &[]);
        assert!(
            told.iter().all(|line| line.starts_with(key)),
            "{text}: {told:?}"
        );
    }
}

#[test]
fn text_that_is_not_toml_is_an_error() {
    assert!(matches!(
        Config::from_text("[client\n", []),
        Err(ConfigError::Syntax(_))
    ));
}

#[test]
fn a_clustered_node_needs_a_secret() {
    let mesh = "[mesh]\nadvertise = \"10.0.0.1:7400\"\n";
    for more in [
        "siblings = [\"10.0.0.2:7400\"]",
        "discovery = [\"multicast\"]",
        "discovery = [\"static\"]",
        "",
    ] {
        let told = errors(&format!("{mesh}{more}"), &[]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("mesh.secret_file: "), "{told:?}");
        let short = errors(&format!("{mesh}{more}\nsecret = \"{}\"", &SECRET[1..]), &[]);
        assert!(
            short[0].starts_with("mesh.secret: the secret has 31 bytes"),
            "{short:?}"
        );
        assert!(valid(&format!("{mesh}{more}\nsecret = \"{SECRET}\""), &[]).clustered());
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    let text = format!("{mesh}secret_file = {:?}", file.display().to_string());
    assert!(errors(&text, &[])[0].starts_with("mesh.secret_file: cannot read"));
    std::fs::write(&file, "short\n").expect("writes");
    assert!(errors(&text, &[])[0].starts_with("mesh.secret_file: the secret has 5 bytes"));
    std::fs::write(&file, format!("{SECRET}\n")).expect("writes");
    let read = valid(&text, &[]);
    assert_eq!(
        read.mesh.secret.expect("a secret").bytes(),
        SECRET.as_bytes()
    );
    assert!(
        errors(&format!("{text}\nsecret = \"{SECRET}\""), &[])[0]
            .starts_with("mesh.secret: give either")
    );
}

#[test]
fn a_node_without_mesh_runs_alone() {
    assert!(!valid("", &[]).clustered());
    assert!(!valid("[mesh]\ndiscovery = []", &[]).clustered());
    assert!(
        errors("", &[("HALLEY__MESH__SIBLINGS", "10.0.0.2:7400")])
            .iter()
            .any(|line| line.starts_with("mesh."))
    );
}

#[test]
fn siblings_alone_mean_static_discovery() {
    let text = format!(
        "[mesh]\nlisten = \"127.0.0.1:7400\"\nsecret = \"{SECRET}\"\nsiblings = [\"a.example:7400\"]"
    );
    assert_eq!(valid(&text, &[]).mesh.discovery, [Discovery::Static]);
    let told = errors(&format!("{text}\ndiscovery = [\"multicast\"]"), &[]);
    assert!(told[0].starts_with("mesh.siblings: "), "{told:?}");
}

#[test]
fn discovery_by_dns_needs_a_name() {
    let text = format!(
        "[mesh]\nlisten = \"127.0.0.1:7400\"\nsecret = \"{SECRET}\"\ndiscovery = [\"dns\", \"multicast\"]\n"
    );
    let told = errors(&text, &[]);
    assert!(told[0].starts_with("mesh.dns.name: is needed"), "{told:?}");
    let named = format!("{text}[mesh.dns]\nname = \"halley.example\"");
    let read = valid(&named, &[]);
    assert_eq!(
        (read.mesh.dns.port, read.mesh.dns.interval_ms),
        (7400, 2000)
    );
    let unused = named.replace("\"dns\", ", "");
    assert!(errors(&unused, &[])[0].starts_with("mesh.dns.name: is set, but"));
    let bad = named.replace("halley.example", "halley/example");
    assert!(errors(&bad, &[])[0].starts_with("mesh.dns.name: "));
    let bad = format!("{named}\nservers = [\"10.0.0.10\"]");
    assert!(errors(&bad, &[])[0].starts_with("mesh.dns.servers: entry 1"));
}

#[test]
fn secrets_are_masked() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "the-admin-token\n").expect("writes");
    let text = format!(
        "[mesh]\nlisten = \"127.0.0.1:7400\"\nsecret = \"{SECRET}\"\n[admin]\ntoken_file = {:?}",
        file.display().to_string()
    );
    let read = valid(&text, &[]);
    assert!(
        read.admin
            .token()
            .expect("a token")
            .matches(b"the-admin-token")
    );
    for shown in [config::effective(&read), format!("{read:?}")] {
        assert!(
            !shown.contains(SECRET) && !shown.contains("the-admin-token"),
            "{shown}"
        );
        assert!(shown.contains("***"));
    }
}

//! The configuration: one table, every error at once, the environment on top, nothing unknown accepted.

use halley::config::{
    self, Config, ConfigError, Discovery, LogFormat, OPTIONS, PolicyKind, ROW_LISTS,
};

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
        ("[client]\npath = \"//\"", "client.path"),
        ("[client]\npath = \"/\"\ndemo = true", "client.demo"),
        (
            "[client]\npath = \"/\"\nfurther_paths = [\"/bayeux\"]",
            "client.further_paths",
        ),
        (
            "[client]\nfurther_paths = [\"bayeux\"]",
            "client.further_paths",
        ),
        (
            "[client]\nfurther_paths = [\"/cometd/more\"]",
            "client.further_paths",
        ),
        ("[client]\nsubprotocol = \"a b\"", "client.subprotocol"),
        (
            "[session]\nbrowserCookieDomain = \"a; b\"",
            "session.browserCookieDomain",
        ),
        (
            "[session]\nbrowserCookiePath = \"cometd\"",
            "session.browserCookiePath",
        ),
        (
            "[session]\nbrowserCookieSameSite = \"lax\"",
            "session.browserCookieSameSite",
        ),
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
fn what_java_nodes_need_is_checked() {
    let mesh = format!("[mesh]\nadvertise = \"10.0.0.1:7400\"\nsecret = \"{SECRET}\"\n");
    let oort = |more: &str| format!("{mesh}[mesh.oort]\nenabled = true\n{more}");
    let secret = "secret = \"an oort secret of at least 32 bytes\"\n";
    let cloud = "cloud = [\"http://10.0.0.2:8080/cometd\"]\n";
    assert!(
        valid(&oort(&format!("{secret}{cloud}")), &[])
            .mesh
            .oort
            .enabled
    );
    for (text, expected) in [
        (
            oort(""),
            "mesh.oort.secret_file: the secret of the Java nodes is needed",
        ),
        (
            oort("secret = \"short\""),
            "mesh.oort.secret: the secret has 5 bytes",
        ),
        (
            oort(&format!("secret = \"{SECRET}\"")),
            "mesh.oort.secret: must not be that of the mesh",
        ),
        (
            oort(&format!("{secret}cloud = [\"https://a/cometd\"]")),
            "mesh.oort.cloud: \"https://a/cometd\"",
        ),
        (
            oort(&format!("{secret}multicast = \"10.0.0.1:5577\"")),
            "mesh.oort.multicast: 10.0.0.1:5577 is not an IPv4 multicast group",
        ),
        (
            format!(
                "[mesh]\nadvertise = \"10.0.0.1:7400\"\nsecret = \"{SECRET}\"\ndiscovery = [\"multicast\"]\n\
                 [mesh.oort]\nenabled = true\n{secret}multicast = \"239.255.0.1:5577\""
            ),
            "mesh.oort.multicast: must not be the group of mesh.multicast",
        ),
        (
            format!("{mesh}[mesh.oort]\n{cloud}"),
            "mesh.oort.enabled: must be true",
        ),
    ] {
        let told = errors(&text, &[]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(expected), "{told:?}");
    }
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

#[test]
fn lists_of_tables_are_printed_so_that_they_can_be_made_live() {
    let printed = config::reference();
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), SECRET).expect("writes");
    for list in ROW_LISTS.iter() {
        assert!(printed.contains(&list.variable()), "{}", list.key);
        let head = format!("# [[{}]]\n", list.key);
        let at = printed.find(&head).expect("the list is printed");
        let live: String = printed[at..]
            .lines()
            .take_while(|line| !line.is_empty())
            .map(|line| format!("{}\n", line.trim_start_matches("# ")))
            // What is left of the meanings is no TOML.
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .collect();
        // What a row needs beside itself.
        let live = live.replace("/etc/halley/api-shop", &token.path().display().to_string());
        let listen = [("HALLEY__API__LISTEN", "127.0.0.1:9500")];
        let beside = if list.key == "api.tokens" {
            &listen[..]
        } else {
            &[]
        };
        let read = valid(&live, beside);
        let rows = list.value(&read);
        let row = rows[0].as_table().expect("a row");
        assert_eq!(row.len(), list.columns.len(), "{live}");
    }
}

#[test]
fn every_problem_of_a_row_is_named_with_its_index() {
    let told = errors(
        "[[security.channels]]\npattern = \"/a\"\n[[security.channels]]\npatern = \"/b\"\nsubscribe = \"*\"\n\
         [[security.channels]]\npattern = \"chat\"\npublish = [\"x\", 7]\ncreate = [\"\"]",
        &[],
    );
    for line in [
        "security.channels[2].patern: unknown key; known here: pattern, subscribe, publish, create",
        "security.channels[2].pattern: is missing",
        "security.channels[2].subscribe: expected a list, each entry string, found a string",
        "security.channels[3].pattern: \"chat\" is not a channel such as",
        "security.channels[3].publish: entry 2: expected string, found an integer",
        "security.channels[3].create: a role must not be empty",
    ] {
        assert!(
            told.iter().any(|found| found.starts_with(line)),
            "{line} is missing in {told:#?}"
        );
    }
    assert_eq!(told.len(), 6, "{told:#?}");
    for (text, line) in [
        (
            "[security]\nchannels = 5",
            "security.channels: expected tables [[security.channels]], found an integer",
        ),
        (
            "[security.channels]\npattern = \"/a\"",
            "security.channels: expected tables [[security.channels]], found a table",
        ),
        (
            "[security]\nchannels = [\"/a\"]",
            "security.channels[1]: expected a table, found a string",
        ),
        (
            "[security]\nchanels = []",
            "security.chanels: unknown key; known here: policy, channels",
        ),
        (
            "[[security.rooms]]\npattern = \"/a\"",
            "security.rooms: unknown key",
        ),
    ] {
        let told = errors(text, &[]);
        assert!(told[0].starts_with(line), "{text}: {told:?}");
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

#[test]
fn rows_come_from_the_environment_as_a_whole() {
    let file = "[[security.channels]]\npattern = \"/a\"\n[[security.channels]]\npattern = \"/b\"";
    let variable = "HALLEY__SECURITY__CHANNELS";
    let read = valid(
        file,
        &[(variable, "[{ pattern = \"/c/**\", subscribe = [\"*\"] }]")],
    );
    assert_eq!(read.security.channels.len(), 1);
    let rule = &read.security.channels[0];
    assert_eq!(rule.pattern.as_ref().expect("a pattern").as_str(), "/c/**");
    assert_eq!(
        (&rule.subscribe, &rule.create),
        (&vec!["*".to_owned()], &None)
    );
    assert!(config::effective(&read).contains("security.channels=[{"));
    assert!(!config::effective(&valid("", &[])).contains("security.channels"));
    let told = errors(file, &[(variable, "/c")]);
    assert!(
        told[0].starts_with("security.channels: the text in HALLEY__SECURITY__CHANNELS"),
        "{told:?}"
    );
}

#[test]
fn patterns_that_mean_nothing_are_refused() {
    for (pattern, part) in [
        ("/meta/**", "is never open to clients"),
        ("/oort/x", "is never open to clients"),
        ("/seti/**", "is never open to clients"),
        ("/chat/{room}", "variables are not patterns"),
        ("/a/", "has a rule already"),
    ] {
        let text = format!(
            "[[security.channels]]\npattern = \"/a\"\n[[security.channels]]\npattern = {pattern:?}"
        );
        let told = errors(&text, &[]);
        assert!(
            told[0].starts_with("security.channels[2].pattern: ") && told[0].contains(part),
            "{told:?}"
        );
    }
}

#[test]
fn security_that_does_not_fit_together_is_refused() {
    let key = |name: &str| format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let rsa = key("rsa.pub.pem");
    let jwt = "[security]\npolicy = \"jwt\"\n[security.jwt]\n";
    let hooks = "[security]\npolicy = \"hooks\"\n[security.hooks]\n";
    for (text, line) in [
        (
            "[security]\npolicy = \"ldap\"".to_owned(),
            "security.policy: \"ldap\" is not one of",
        ),
        (
            jwt.to_owned(),
            "security.jwt.algorithms: name the algorithms",
        ),
        (
            format!("{jwt}algorithms = [\"none\"]"),
            "security.jwt.algorithms: entry 1: \"none\" is not one of",
        ),
        (
            format!("{jwt}algorithms = [\"RS256\"]"),
            "security.jwt: a key is needed",
        ),
        (
            format!("{jwt}algorithms = [\"RS256\"]\npublic_key_file = \"/no/such\""),
            "security.jwt.public_key_file: cannot read",
        ),
        (
            format!("{jwt}algorithms = [\"ES256\"]\npublic_key_file = {rsa:?}"),
            "security.jwt.public_key_file: the key is for RS256",
        ),
        (
            format!(
                "{jwt}algorithms = [\"RS256\"]\npublic_key_file = {rsa:?}\nsecret_file = {rsa:?}"
            ),
            "security.jwt.secret_file: is for HS256",
        ),
        (
            format!("{jwt}algorithms = [\"HS256\"]\nsecret_file = {rsa:?}"),
            "security.jwt.secret_file: the file holds a PEM key",
        ),
        (
            format!("{jwt}algorithms = [\"RS256\"]\npublic_key_file = {rsa:?}\nuser_claim = \"\""),
            "security.jwt.user_claim: must not be empty",
        ),
        (
            "[security.jwt]\nalgorithms = [\"RS256\"]".to_owned(),
            "security.policy: must be \"jwt\"",
        ),
        (
            format!("{jwt}algorithms = [\"RS256\"]\njwks_url = \"https://a/\""),
            "security.jwt.jwks_url: https is not spoken",
        ),
        (
            "[security.jwt]\njwks_url = \"http://a/\"".to_owned(),
            "security.policy: must be \"jwt\"",
        ),
        (hooks.to_owned(), "security.hooks: an address is needed"),
        (
            format!("{hooks}publish = \"https://a/\""),
            "security.hooks.publish: https is not spoken",
        ),
        (
            format!("{hooks}publish = \"a/b\""),
            "security.hooks.publish: \"a/b\" is not an address",
        ),
        (
            format!("{hooks}publish = \"http://a/\"\ntoken_file = \"/no/such\""),
            "security.hooks.token_file: cannot read",
        ),
        (
            format!("{hooks}publish = \"http://a/\"\ntoken_file = {rsa:?}"),
            "security.hooks.token_file: the file must hold one line",
        ),
        (
            "[security.hooks]\nsubscribe = \"http://a/\"".to_owned(),
            "security.policy: must be \"hooks\"",
        ),
        (
            format!("{hooks}publish = \"http://a/\"\n[seti]\ntrust_handshake_user = true"),
            "seti.trust_handshake_user: is on",
        ),
    ] {
        let told = errors(&text, &[]);
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        assert!(told[0].starts_with(line), "{text}: {told:?}");
    }
    let read = valid(
        &format!("{jwt}algorithms = [\"RS256\"]\npublic_key_file = {rsa:?}"),
        &[],
    );
    assert_eq!(read.security.policy, PolicyKind::Jwt);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "the-hook-token\n").expect("writes");
    let token_file = file.display().to_string();
    let read = valid(
        &format!("{hooks}publish = \"http://a/\"\ntoken_file = {token_file:?}"),
        &[],
    );
    assert_eq!(
        read.security.hooks.token().expect("a token").bytes(),
        b"the-hook-token"
    );
    for shown in [config::effective(&read), format!("{read:?}")] {
        assert!(!shown.contains("the-hook-token"), "{shown}");
    }
}

#[test]
fn an_api_that_does_not_fit_together_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let good = file("good", &format!("{SECRET}\n"));
    let short = file("short", "short");
    let five: String = (0..5).map(|n| format!("{SECRET}{n}\n")).collect();
    let many = file("many", &five);
    let row = |name: &str, file: &str, more: &str| {
        format!("[[api.tokens]]\nname = {name:?}\ntoken_file = {file:?}\n{more}\n")
    };
    let reads = "roles = [\"read\"]";
    let listens = "[api]\nlisten = \"127.0.0.1:9500\"\n";
    for (text, key, what) in [
        (listens.to_owned(), "api.tokens", "a token is needed"),
        (row("a", &good, reads), "api.listen", "is needed"),
        (
            format!("{listens}tls = true\n{}", row("a", &good, reads)),
            "api.tls",
            "needs a certificate",
        ),
        (
            format!("{listens}{}", row("a b", &good, reads)),
            "api.tokens[1].name",
            "is not a name",
        ),
        (
            format!("{listens}{}", row("a", &good, "roles = []")),
            "api.tokens[1].roles",
            "at least one",
        ),
        (
            format!("{listens}{}", row("a", &good, "roles = [\"write\"]")),
            "api.tokens[1].roles",
            "is not one of",
        ),
        (
            format!("{listens}{}", row("a", &short, reads)),
            "api.tokens[1].token_file",
            "at least 32",
        ),
        (
            format!("{listens}{}", row("a", &many, reads)),
            "api.tokens[1].token_file",
            "at most 4",
        ),
        (
            format!("{listens}{}", row("a", "/no/such/file", reads)),
            "api.tokens[1].token_file",
            "cannot read",
        ),
        (
            format!(
                "{listens}{}{}",
                row("a", &good, reads),
                row("b", &good, reads)
            ),
            "api.tokens[2].token_file",
            "another application",
        ),
        (
            format!(
                "{listens}{}",
                row("a", &good, &format!("{reads}\nchannels = [\"/meta/*\"]"))
            ),
            "api.tokens[1].channels",
            "never open",
        ),
    ] {
        let told = errors(&text, &[]);
        assert!(
            told.iter()
                .any(|line| line.starts_with(key) && line.contains(what)),
            "{key}: {told:?}"
        );
    }
    let config = valid(&format!("{listens}{}", row("a", &good, reads)), &[]);
    assert!(!format!("{config:?}").contains(SECRET));
    assert!(!config::effective(&config).contains(SECRET));
}

//! Every node and field of the grammar: what the reader knows, suggests and documents.

use std::fmt::Write as _;

use crate::finding::nearest;

/// A node or field of the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// As it is written.
    pub name: &'static str,
    /// What follows it, in words that complete "takes …".
    pub takes: &'static str,
    /// What holds where it isn't written; empty: nothing.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// A line that is right.
    pub example: &'static str,
    /// Whether it may be given more than once.
    pub repeats: bool,
    /// When it takes effect.
    pub served: Served,
    /// What is in its block, or among its properties.
    pub fields: &'static [Self],
}

/// When a field takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Now.
    Now,
    /// It is read and checked whole; a deploy with it is refused.
    Later,
    /// Its name is kept, its contents aren't settled and aren't looked at; a deploy with it is refused.
    Reserved,
}

const fn field(name: &'static str, takes: &'static str, doc: &'static str, example: &'static str) -> Field {
    Field { name, takes, default: "", doc, example, repeats: false, served: Served::Now, fields: &[] }
}

const fn reserved(name: &'static str, doc: &'static str, example: &'static str) -> Field {
    let field = field(name, "what a later version says", doc, example);
    Field { served: Served::Reserved, repeats: true, ..field }
}

impl Field {
    const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn repeats(self) -> Self {
        Self { repeats: true, ..self }
    }

    const fn later(self) -> Self {
        Self { served: Served::Later, ..self }
    }

    const fn with(self, fields: &'static [Self]) -> Self {
        Self { fields, ..self }
    }

    /// Whether it can't be left out.
    pub fn is_required(&self) -> bool {
        self.default == REQUIRED
    }
}

const REQUIRED: &str = "required";
const TEXT: &str = "text";
const TEXTS: &str = "texts";
const COUNT: &str = "a whole number";
const DURATION: &str = "a duration";
const SIZE: &str = "a size";
const FLAG: &str = "`#true` or `#false`";

/// What stands at the top of a file.
pub const FILE: &[Field] = &[
    field("project", TEXT, "The project's name. One file is one project.", "project \"shop\"")
        .default("the name of the directory that holds the file"),
    field(
        "service",
        "its name",
        "A long-running program, in any number of replicas.",
        "service \"web\" { image \"nginx\" }",
    )
    .repeats()
    .with(SERVICE),
    field(
        "task",
        "its name",
        "A program that runs to its end.",
        "task \"migrate\" { image \"shop/web:v1\" }",
    )
    .repeats()
    .with(TASK),
];

/// What a service has.
pub const SERVICE: &[Field] = &[
    IMAGE,
    COMMAND,
    ENTRYPOINT,
    field(
        "port",
        "the number of a port, or a name and a number",
        "What the program listens on. The first is *the* port, where no other is named.",
        "port \"metrics\" 9090",
    )
    .repeats()
    .with(PORT),
    field("replicas", COUNT, "How many run.", "replicas 2").default("1"),
    CPU,
    MEMORY,
    ENV,
    field(
        "health",
        "fields",
        "How its health is asked for: one of `path`, `tcp`, `exec`, `grpc`. Without it a service is healthy when its \
         first port accepts, or, without a port, when it has run for 1s.",
        "health path=\"/health\" interval=\"10s\"",
    )
    .with(HEALTH),
    field("route", "a host name", "Requests for this host come here. The longest host and path win.", "route \"shop.example.com\" path=\"/\"")
        .repeats()
        .later()
        .with(ROUTE),
    VOLUME,
    SECRET,
    field("stop", "fields", "How its container is asked to end.", "stop signal=\"SIGQUIT\" grace=\"30s\"").with(STOP),
    field("update", "fields", "How a new version replaces an old one.", "update parallel=2 deadline=\"5m\"").with(UPDATE),
    field(
        "depends-on",
        "names of services and tasks",
        "Within a deploy: started after these services are healthy and these tasks have succeeded.",
        "depends-on \"db\" \"migrate\"",
    )
    .repeats(),
    PLACE,
    field("user", TEXT, "Who runs it: a name or number, with `:` and a group if need be.", "user \"app:app\"")
        .default("the image's"),
    field("workdir", "a path", "Where it starts.", "workdir \"/srv\"").default("the image's"),
    field("read-only-root", FLAG, "Whether its root file system can't be written.", "read-only-root #true")
        .default("`#false`"),
    field("cap-add", "names of capabilities", "Capabilities beyond the defaults (Docker's less NET_RAW).", "cap-add \"NET_ADMIN\"")
        .repeats(),
    field("cap-drop", "names of capabilities", "Capabilities taken away; `ALL` takes all.", "cap-drop \"ALL\"").repeats(),
    field("devices", "paths", "Devices of the node that it may use.", "devices \"/dev/fuse\"").repeats(),
    reserved("file", "Config files.", "file \"/etc/app.conf\" \"text\""),
    reserved("mount", "Paths of the node.", "mount \"/srv/data\" path=\"/data\""),
    reserved("shm-size", "Size of its shared memory.", "shm-size \"64M\""),
    reserved("ulimits", "Limits of its processes.", "ulimits nofile=65536"),
    reserved("hostname", "What it takes for its host's name.", "hostname \"web\""),
    reserved("extra-hosts", "Names beyond DNS.", "extra-hosts { db \"10.0.0.9\" }"),
    reserved("listen", "Ports published to the world without HTTP.", "listen 5432 port=\"pg\""),
    reserved("metadata", "Whether it may ask the cloud's metadata address.", "metadata #true"),
];

/// What a task has.
pub const TASK: &[Field] = &[
    IMAGE,
    COMMAND,
    ENTRYPOINT,
    ENV,
    CPU,
    MEMORY,
    field("timeout", DURATION, "After this it is stopped and has failed.", "timeout \"10m\"").default("1h"),
    VOLUME,
    SECRET,
    PLACE,
    field("schedule", "a cron expression", "When it starts by itself.", "schedule \"30 4 * * *\"").later(),
];

const IMAGE: Field = field(
    "image",
    "the name of an image",
    "`name:tag` or `name@sha256:…`. A tag is resolved to its digest once per deploy.",
    "image \"registry.example.com/web:v1\"",
)
.default(REQUIRED);
const COMMAND: Field =
    field("command", TEXTS, "Replaces the image's command.", "command \"migrate\" \"--to\" \"latest\"")
        .default("the image's");
const ENTRYPOINT: Field =
    field("entrypoint", TEXTS, "Replaces the image's entrypoint.", "entrypoint \"/bin/app\"")
        .default("the image's");
const CPU: Field = field("cpu", "a number of cores", "Processor time: reserved, and its ceiling.", "cpu 0.5")
    .default("0.25");
const MEMORY: Field =
    field("memory", SIZE, "Memory: reserved, and its ceiling.", "memory \"512M\"").default("256M");
const ENV: Field =
    field("env", "variables", "Environment variables, over the image's.", "env { LOG_LEVEL \"info\" }");
const VOLUME: Field = field(
    "volume",
    "its name",
    "A directory that isn't the image's: persistent (`size`), `ephemeral`, or from a file server (`nfs`).",
    "volume \"scratch\" path=\"/tmp\" ephemeral=#true",
)
.repeats()
.with(VOLUMES);
const SECRET: Field =
    field("secret", "its name", "A secret as a file, in memory only. `mill secret set` sets it; `${secret(NAME)}` in `env` is the other way.", "secret \"tls.key\" path=\"/run/secrets/tls.key\"")
        .repeats()
        .with(SECRETS);
const PLACE: Field =
    field("place", "fields", "Which nodes it may and should run on.", "place label=\"zone\" is=\"a\"")
        .repeats()
        .later()
        .with(PLACES);

const PORT: &[Field] =
    &[field("protocol", "\"tcp\" or \"udp\"", "What is spoken there.", "protocol=\"udp\"").default("tcp")];

const HEALTH: &[Field] = &[
    field("path", "a path", "Ask by HTTP GET; 2xx and 3xx are healthy.", "path=\"/health\""),
    field("tcp", FLAG, "Ask whether the port accepts.", "tcp=#true"),
    field(
        "exec",
        "a command",
        "Run a program in the container; 0 is healthy.",
        "exec=\"pg_isready -U postgres\"",
    ),
    field("grpc", FLAG, "Ask `grpc.health.v1.Health/Check`.", "grpc=#true"),
    field("interval", DURATION, "From the start of a check to the next.", "interval=\"10s\"").default("10s"),
    field("timeout", DURATION, "After this a check has failed.", "timeout=\"2s\"").default("2s"),
    field("retries", COUNT, "Failed checks in a row that make it unhealthy.", "retries=3").default("3"),
    field(
        "start-period",
        DURATION,
        "Failures this long after the start don't count.",
        "start-period=\"30s\"",
    )
    .default("30s"),
    PORT_OF,
];

const ROUTE: &[Field] = &[
    field("path", "a path", "Prefix of the path, on `/` borders.", "path=\"/api\"").default("/"),
    field("websocket", FLAG, "Whether connections may become WebSockets.", "websocket=#true")
        .default("`#false`"),
    field("protocol", "\"http\" or \"h2c\"", "What the service speaks: `h2c` for gRPC.", "protocol=\"h2c\"")
        .default("http"),
    PORT_OF,
    reserved("redirect", "Answer with a redirect.", "redirect=\"https://example.com\""),
    reserved("strip-prefix", "Take the prefix off before asking the service.", "strip-prefix=#true"),
    reserved("timeout", "Longest wait for an answer.", "timeout=\"30s\""),
];

const PORT_OF: Field = field("port", "the name or number of a port", "Which of its ports.", "port=\"http\"")
    .default("the first");

const VOLUMES: &[Field] = &[
    field("path", "a path", "Where it is mounted.", "path=\"/data\"").default(REQUIRED),
    field(
        "size",
        SIZE,
        "With `ephemeral`: at most this large. Without: makes it persistent, of at least this size (*not served yet*).",
        "size=\"5Gi\"",
    ),
    field("ephemeral", FLAG, "Made empty for an alloc and removed with it.", "ephemeral=#true")
        .default("`#false`"),
    field("nfs", "HOST:/EXPORT", "From a file server.", "nfs=\"10.0.0.9:/export\"").later(),
    field("read-only", FLAG, "Whether it can't be written.", "read-only=#true").default("`#false`"),
];

const SECRETS: &[Field] = &[
    field("path", "a path", "Where the file is.", "path=\"/run/secrets/tls.key\"").default(REQUIRED),
    field("owner", "a user, with `:` and a group if need be", "Whose it is.", "owner=\"app\"")
        .default("the user that the program runs as"),
    field("mode", "octal digits", "Who may read it.", "mode=\"0440\"").default("0400"),
];

const STOP: &[Field] = &[
    field("signal", "the name of a signal", "What it is sent.", "signal=\"SIGQUIT\"")
        .default("the image's, else SIGTERM"),
    field("grace", DURATION, "From the signal to SIGKILL.", "grace=\"10s\"").default("10s"),
    field("drain", DURATION, "Longest wait for open requests of an unhealthy replica before the signal that restarts it. Other stops don't wait as long as Mill itself routes no requests.", "drain=\"10s\"")
        .default("10s"),
];

const UPDATE: &[Field] = &[
    field("parallel", COUNT, "Replicas replaced at a time.", "parallel=1").default("1"),
    field("order", "\"start-first\" or \"stop-first\"", "Which goes first.", "order=\"stop-first\"")
        .default("start-first; with a persistent volume stop-first"),
    field("deadline", DURATION, "After this the deploy of the service has failed.", "deadline=\"10m\"")
        .default("10m"),
];

const PLACES: &[Field] = &[
    field("label", TEXT, "Only nodes with this label …", "label=\"zone\""),
    field("is", TEXT, "… of this value.", "is=\"a\""),
    field("spread", TEXT, "Spread over the values of this label.", "spread=\"zone\""),
];

/// Fields as other tools call them, and as Mill does.
const FOREIGN: &[(&str, &str)] = &[
    ("args", "command"),
    ("cap_add", "cap-add"),
    ("cmd", "command"),
    ("count", "replicas"),
    ("domain", "route"),
    ("environment", "env"),
    ("expose", "port"),
    ("healthcheck", "health"),
    ("host", "route"),
    ("instances", "replicas"),
    ("job", "task"),
    ("labels", "place"),
    ("mem", "memory"),
    ("mounts", "volume"),
    ("ports", "port"),
    ("ram", "memory"),
    ("scale", "replicas"),
    ("secrets", "secret"),
    ("services", "service"),
    ("stop-signal", "stop"),
    ("volumes", "volume"),
    ("working-dir", "workdir"),
];

/// What to do about a name that none of `known` has.
pub(crate) fn suggest(name: &str, known: &'static [Field]) -> Option<String> {
    if let Some(word) = name.strip_suffix(':').filter(|word| known.iter().any(|field| field.name == *word)) {
        return Some(format!("write `{word}` without the colon"));
    }
    let written = name.to_lowercase().replace('_', "-");
    let foreign = FOREIGN.iter().find(|(theirs, _)| *theirs == written).map(|(_, ours)| *ours);
    let meant = foreign.filter(|ours| known.iter().any(|field| field.name == *ours));
    if let Some(meant) = meant.or_else(|| nearest(name, known.iter().map(|field| field.name))) {
        return Some(format!("did you mean `{meant}`?"));
    }
    if FILE.iter().any(|field| field.name == written) {
        return Some(format!("`{written}` belongs to the top of the file: is a `}}` missing above?"));
    }
    let homes = homes_of(&written);
    if homes.is_empty() {
        return None;
    }
    Some(format!("`{written}` belongs into {}", homes.join(" or ")))
}

/// Where a field is at home: "a service", "`health`".
fn homes_of(name: &str) -> Vec<String> {
    let has = |fields: &[Field]| fields.iter().any(|field| field.name == name);
    let mut homes = Vec::new();
    for (fields, home) in [(SERVICE, "a service"), (TASK, "a task")] {
        if has(fields) {
            homes.push(home.to_owned());
        }
    }
    let inner = SERVICE.iter().filter(|field| has(field.fields));
    homes.extend(inner.map(|field| format!("`{}`", field.name)));
    homes
}

/// The names of all of them.
pub(crate) fn names(known: &'static [Field]) -> Vec<&'static str> {
    known.iter().map(|field| field.name).collect()
}

/// The grammar as Markdown.
pub fn reference() -> String {
    let mut text = String::from("## The file\n\n");
    table(&mut text, FILE);
    for (title, fields) in [("service", SERVICE), ("task", TASK)] {
        let _ = write!(text, "\n## `{title}`\n\n");
        table(&mut text, fields);
    }
    for field in SERVICE.iter().filter(|field| !field.fields.is_empty()) {
        let served = if field.served == Served::Now { "" } else { " *Not served yet.*" };
        let _ = write!(text, "\n### `{}`\n\n{}{served}\n\n", field.name, escape(field.doc));
        table(&mut text, field.fields);
    }
    text
}

fn table(text: &mut String, fields: &[Field]) {
    text.push_str("| field | takes | default | meaning | example |\n|---|---|---|---|---|\n");
    for field in fields {
        let mut meaning = field.doc.to_owned();
        if field.repeats && field.served != Served::Reserved {
            meaning.push_str(" May be repeated.");
        }
        if field.served != Served::Now {
            meaning.push_str(" *Not served yet.*");
        }
        let cells = [
            &format!("`{}`", field.name),
            field.takes,
            field.default,
            &meaning,
            &format!("`{}`", field.example),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests;

//! Kinds of complaints, each with the reason why it is one.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $reason:literal)*) => {
        /// What kind of complaint it is. The text form is stable: tools may match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[schemars(rename = "ComplaintCode")]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As in JSON and behind the message: `unknown-field`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Why this is worth a complaint, where the case at hand has no better reason.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }
        }
    };
}

codes! {
    // The text.
    /// Larger than `limits::CONFIG_BYTES_MAX`.
    FileTooLarge "file-too-large" "a config file has at most 1 MiB; a larger one is an accident, such as the wrong file"
    /// Bytes that aren't UTF-8.
    NotUtf8 "not-utf-8" "a config file is UTF-8 text"
    /// Nested deeper than `limits::CONFIG_DEPTH_MAX`.
    TooDeep "too-deep" "the grammar needs three levels; reading stops at sixteen"
    /// A character that KDL allows only in escaped form, or not at all.
    ForbiddenCharacter "forbidden-character" "a word without quotes has none of these signs: `\\ / ( ) { } [ ] ; \" # =`"
    /// A `"` or `"""` without its end.
    UnclosedString "unclosed-string" "text ends with the quotes that it began with, and on the same line unless these are \"\"\""
    /// A `/*` without its `*/`.
    UnclosedComment "unclosed-comment" "a comment that begins with `/*` ends with `*/`; comments nest, so each `/*` within needs its own"
    /// A `{` without its `}`.
    UnclosedBlock "unclosed-block" "each `{` needs its `}`"
    /// A `}` too many.
    StrayBrace "stray-brace" "no block is open here"
    /// A block after a block, or a field right behind one.
    AfterBlock "after-block" "a block ends its field; the next field begins on a new line or after `;`"
    /// Something else where a field's name should be.
    NoName "no-name" "a line begins with the name of a field"
    /// Two things without a space.
    NoSpace "no-space" "values are set apart by spaces"
    /// `field = value`
    EqualsSign "equals-sign" "a field's value follows its name after a space, without `=`"
    /// `key=` and nothing.
    NoPropertyValue "no-property-value" "`=` must be followed by a value"
    /// `\` and a character that it doesn't go with.
    BadEscape "bad-escape" "in text `\\` begins an escape: `\\n`, `\\t`, `\\r`, `\\s`, `\\b`, `\\f`, `\\\\`, `\\\"`, `\\u{…}`"
    /// Marked as KDL 1.
    OldVersion "old-version" "config files are KDL 2; what KDL 1 wrote otherwise is complained about where it stands"
    /// Not a number, though it begins like one.
    BadNumber "bad-number" "what begins with a digit must be a number"
    /// `#` and a word that is no keyword.
    BadKeyword "bad-keyword" "the words with `#` are `#true`, `#false`, `#null`, `#inf`, `#-inf`, `#nan`"
    /// `true` without `#`, as KDL 1 wrote it.
    BareKeyword "bare-keyword" "this is KDL 2, where the words with a meaning have a `#`"
    /// `r"…"`, as KDL 1 wrote it.
    OldRawString "old-raw-string" "this is KDL 2, where raw text is written without `r` and always with `#`"
    /// A `"""` text whose lines don't fit its end.
    BadMultiline "bad-multiline" "text in `\"\"\"` begins on the next line, and each of its lines has the indentation that the closing `\"\"\"` has"
    /// A `(` that begins no type.
    BadAnnotation "bad-annotation" "`(` begins a type annotation, which is one word and `)`"
    /// `/-` with nothing after it.
    DanglingSlashdash "dangling-slashdash" "`/-` comments out the field, value or block that follows it"
    /// `\` that doesn't end its line.
    BadContinuation "bad-continuation" "outside of text `\\` continues a line, and nothing but a comment may stand behind it"

    // The grammar.
    /// A field that doesn't exist there.
    UnknownField "unknown-field" "a name that Mill doesn't know would otherwise be ignored in silence"
    /// A field given twice.
    DuplicateField "duplicate-field" "which of the two is meant can't be told"
    /// A required field that isn't there.
    MissingField "missing-field" "it has no default"
    /// A field without its value.
    MissingValue "missing-value" "the field means nothing without it"
    /// More values than the field takes.
    ExtraValue "extra-value" "it would have no meaning"
    /// Text for a number and the like.
    WrongType "wrong-type" "nothing is converted by guessing"
    /// A `{ … }` where none belongs.
    UnexpectedBlock "unexpected-block" "this field has no fields of its own"
    /// A `key=value` where none belongs.
    UnexpectedProperty "unexpected-property" "only fields such as `health`, `route` and `volume` have properties"
    /// `(type)`
    TypeAnnotation "type-annotation" "Mill's grammar has no type annotations"
    /// Two `project` lines.
    SeveralProjects "several-projects" "one file describes one project"
    /// Neither `project` nor a usable directory name.
    NoProjectName "no-project-name" "a project needs a name, and the directory of the file gives none"
    /// No service and no task.
    NothingToRun "nothing-to-run" "deploying this would stop everything that the project runs"

    // Values.
    /// Not a name.
    BadName "bad-name" "names become host names"
    /// Not an image.
    BadImage "bad-image" "no registry has an image of such a name"
    /// Not a duration.
    BadDuration "bad-duration" "a duration is a number with its unit"
    /// Not a size.
    BadSize "bad-size" "a size is a whole number with its unit"
    /// A number or duration too small or too large.
    OutOfRange "out-of-range" "the value is outside of what can work"
    /// None of the words that a field takes.
    BadChoice "bad-choice" "the field takes one of a few words"
    /// Not an absolute path.
    BadPath "bad-path" "a path in a container is absolute and has no `..`"
    /// Not a host name.
    BadHost "bad-host" "a route is chosen by the host name that a client asks for"
    /// Not a capability of Linux.
    BadCapability "bad-capability" "Linux has no such capability"
    /// Not a signal.
    BadSignal "bad-signal" "Linux has no such signal"
    /// Not a device.
    BadDevice "bad-device" "devices are files below `/dev`"
    /// Not a user.
    BadUser "bad-user" "a user is a name or number, with `:` and a group if need be"
    /// Not the name of a variable.
    BadVariable "bad-variable" "the name of an environment variable isn't empty and has no `=`"
    /// Not a label of nodes.
    BadLabel "bad-label" "labels of nodes are letters, digits, `.`, `_`, `-` and `/`"
    /// Not an NFS export.
    BadExport "bad-export" "an NFS volume is named by its server and the directory that the server exports"
    /// Not the name of a secret.
    BadSecretName "bad-secret-name" "a secret's name has letters, digits, `.`, `_` and `-`, and at most 128 of them"
    /// Not permission bits.
    BadMode "bad-mode" "a mode is three or four octal digits that let somebody read, as `chmod` takes them"
    /// Not a cron expression.
    BadSchedule "bad-schedule" "a schedule has five parts: minute, hour, day of the month, month, day of the week"
    /// `${…}` that means nothing.
    BadReference "bad-reference" "`${` begins a reference, which Mill fills in when the container starts"
    /// `${…}` where none is filled in.
    ReferenceHere "reference-here" "references are filled in only in `env`, `command`, `entrypoint` and `health`"
    /// Shell syntax where no shell is.
    ShellSyntax "shell-syntax" "the check is run directly, without a shell"
    /// A text without a character.
    EmptyText "empty-text" "an empty text names nothing"
    /// NUL in a text.
    NulCharacter "nul-character" "the kernel ends every argument, variable and path at a NUL"

    // Rules.
    /// Two workloads of one name.
    DuplicateName "duplicate-name" "services and tasks of a project share one set of names"
    /// Two ports of one number or name.
    DuplicatePort "duplicate-port" "a port is known by its number and its name within its service"
    /// One variable set twice.
    DuplicateVariable "duplicate-variable" "a variable has one value"
    /// One volume mounted twice.
    DuplicateVolume "duplicate-volume" "a volume is mounted once in a container"
    /// Two mounts on one path.
    DuplicatePath "duplicate-path" "the second mount would hide the first"
    /// One value listed twice.
    DuplicateValue "duplicate-value" "once is enough; twice is perhaps a slip"
    /// `depends-on` something that isn't there.
    UnknownDependency "unknown-dependency" "a service can only wait for a service or task of the same file"
    /// Services that wait for each other.
    DependencyCycle "dependency-cycle" "services that wait for each other never start"
    /// `${secret(X)}` or `secret "X"` without an X.
    UnknownSecret "unknown-secret" "a container can't start without the secrets that it is made with"
    /// `${service.X…}` without an X.
    UnknownService "unknown-service" "an address needs a service that has it"
    /// A port that isn't declared.
    UnknownPort "unknown-port" "it must be one of the ports that the service declares"
    /// Something that needs a port in a service without one.
    NoPort "no-port" "there is no port to reach the service at"
    /// TCP asked of a UDP port.
    NotTcp "not-tcp" "this is spoken over TCP"
    /// A persistent volume that several replicas would share.
    VolumeReplicas "volume-replicas" "a persistent volume has one writer at a time"
    /// A persistent volume in two workloads.
    VolumeShared "volume-shared" "a persistent volume has one writer at a time"
    /// A volume without a size, or of two kinds.
    VolumeKind "volume-kind" "a volume is persistent (`size`), made empty for each replica (`ephemeral=#true`) or from a file server (`nfs`)"
    /// A persistent volume and start-first.
    VolumeStartFirst "volume-start-first" "a persistent volume has one writer at a time, so the old replica must stop before the new one starts"
    /// A health check of no kind, or of two.
    HealthKind "health-kind" "a check asks in one way: `path` (HTTP), `tcp=#true`, `exec` or `grpc=#true`"
    /// A health path without `/`.
    HealthPath "health-path" "the path is sent as it is, and a request's path begins with `/`"
    /// A `place` of no kind, or of two.
    PlaceKind "place-kind" "a place is a label with its value, or a label to spread over"
    /// Two routes for the same requests.
    RouteClash "route-clash" "a request can go to one service only"
    /// One capability added and dropped.
    CapabilityClash "capability-clash" "a capability is either added or dropped"
    /// More than a limit allows.
    TooMany "too-many" "everything that Mill keeps is bounded"
    /// More than any node has.
    TooLarge "too-large" "no node could ever hold it"
    /// An image whose registry has none of that name, or can't be asked.
    NoDigest "no-digest" "every replica runs the same digest, and the registry doesn't say which"
    /// Part of the grammar, but not served by this version.
    NotServed "not-served" "not served yet: the grammar knows it, this version of Mill doesn't do it"

    // Warnings.
    /// The project's name was made from the directory's.
    ProjectRenamed "project-renamed" "the directory's name can't be a project's name as it is"
    /// An update that stops all replicas at once.
    AllAtOnce "all-at-once" "with stop-first the service doesn't answer until the first new replica is healthy"
    /// `${secret(X)}` in a command.
    SecretOnCommandLine "secret-on-command-line" "whoever is on the machine can read the arguments of its programs"
    /// One word with spaces as a command.
    OneWord "one-word" "each word of a command is a value of its own; this asks for a program whose name has spaces"
}

impl Code {
    /// Whether it complains that something isn't there. In a file that couldn't be read whole such a complaint
    /// may be wrong, and is left out.
    pub(crate) const fn is_about_absence(self) -> bool {
        matches!(
            self,
            Self::MissingField
                | Self::MissingValue
                | Self::NoProjectName
                | Self::NothingToRun
                | Self::UnknownDependency
                | Self::UnknownService
                | Self::UnknownPort
                | Self::NoPort
                | Self::VolumeKind
                | Self::HealthKind
                | Self::PlaceKind
        )
    }

    /// Whether it means that the text isn't KDL.
    pub(crate) fn is_syntax(self) -> bool {
        self <= Self::BadContinuation
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

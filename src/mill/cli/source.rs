//! The config file: found, read, checked, and sent whole.
//!
//! The cluster checks it again, and by more rules: it knows its nodes and its other projects.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use mill_api::client::ClientError;
use mill_api::deploys::DeployRequest;
use mill_config::{Complaint, Complaints, Parsed, Source};
use mill_model::limits::{CONFIG_BYTES_MAX, NAME_LENGTH_MAX};
use mill_model::{ImageRef, ProjectName, WorkloadName};

use super::error::{CliError, look};
use super::ui::Ui;

/// What a config file is called unless it is said.
pub(crate) const FILE: &str = "mill.kdl";

/// Which file, and what to put in place of what it says.
#[derive(Debug, Clone, Args)]
pub(crate) struct FileArgs {
    /// Config file; `-` reads it from stdin
    #[arg(short, long, value_name = "FILE", default_value = FILE)]
    pub(crate) file: PathBuf,

    /// Run this image instead of the file's: `--image web=registry.example.com/web:v2`
    #[arg(long = "image", value_name = "SERVICE=IMAGE", value_parser = parse_image)]
    pub(crate) images: Vec<(WorkloadName, ImageRef)>,

    /// The project's name if the file gives none; by default that of the directory that holds it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project: Option<ProjectName>,
}

fn parse_image(text: &str) -> Result<(WorkloadName, ImageRef), String> {
    let (service, image) = text.split_once('=').ok_or("it is SERVICE=IMAGE, such as web=nginx:1.27")?;
    let service = service.parse().map_err(|wrong| format!("`{service}`: {wrong}"))?;
    let image = image.parse().map_err(|wrong| format!("`{image}`: {wrong}"))?;
    Ok((service, image))
}

impl FileArgs {
    /// Reads the file and checks it as far as that is possible here. Everything that is wrong is in the error, and
    /// nobody was asked yet. What someone should look at nevertheless is said.
    pub(crate) fn request(&self, ui: &mut Ui<'_>, replace: bool) -> Result<DeployRequest, CliError> {
        let (request, warnings) = self.read_and_check(replace)?;
        if !warnings.is_empty() {
            let drawn =
                Complaints { list: warnings, omitted: 0 }.render(&request.source, look(&ui.talk_terminal));
            ui.say(&drawn)?;
        }
        Ok(request)
    }

    /// The project that is meant where the file isn't sent; `None`: no file was named, and none is here.
    pub(crate) fn whose(&self) -> Result<Option<ProjectName>, CliError> {
        if let Some(name) = &self.project {
            return Ok(Some(name.clone()));
        }
        match project_of(&self.file)? {
            None if self.file != Path::new(FILE) => {
                let gone = io::Error::from(io::ErrorKind::NotFound);
                Err(unreadable(&self.file.display().to_string(), &gone))
            }
            project => Ok(project),
        }
    }

    fn read_and_check(&self, replace: bool) -> Result<(DeployRequest, Vec<Complaint>), CliError> {
        let (file, source, holder) = match self.file == Path::new("-") {
            true => ("stdin".to_owned(), read(io::stdin().lock(), "stdin")?, std::env::current_dir().ok()),
            false => {
                let name = self.file.display().to_string();
                let open = File::open(&self.file).map_err(|error| unreadable(&name, &error))?;
                let path = self.file.canonicalize().ok();
                let source = read(open, &name)?;
                (name, source, path.and_then(|path| path.parent().map(Path::to_owned)))
            }
        };
        let default_project = self.project.clone().or_else(|| named_after(holder.as_deref()));
        let parsed = self.check(&file, &source, default_project.as_ref())?;
        let images: BTreeMap<_, _> = self.images.iter().cloned().collect();
        if images.len() < self.images.len() {
            return Err(CliError::usage("`--image` names a service twice")
                .because("a service runs one image")
                .hint("leave one of the two away"));
        }
        let default_project = default_project.unwrap_or(parsed.spec.name);
        Ok((DeployRequest { source, file, default_project, images, replace }, parsed.warnings))
    }

    fn check(&self, file: &str, text: &str, default: Option<&ProjectName>) -> Result<Parsed, CliError> {
        let wrong = |complaints: Complaints| {
            CliError::usage(format!("{file} can't be deployed"))
                .complaints(complaints, text)
                .because("it has the errors shown above")
                .hint("put it right; nothing was changed")
        };
        let default_project = default.map(ProjectName::as_str);
        let mut parsed = mill_config::parse(&Source { file, text, default_project }).map_err(wrong)?;
        let unserved = parsed.unserved();
        if !unserved.is_empty() {
            return Err(wrong(Complaints { list: unserved, omitted: 0 }));
        }
        for (service, image) in &self.images {
            if !parsed.set_image(service, image) {
                return Err(CliError::usage(format!("{file} has no service or task `{service}`"))
                    .because("`--image` names it")
                    .hint(format!("it has: {}", names(&parsed).join(", "))));
            }
        }
        match &self.project {
            Some(asked) if *asked != parsed.spec.name => Err(CliError::usage(format!(
                "{file} describes project `{}`, not `{asked}`",
                parsed.spec.name
            ))
            .because("the name in the file wins over `--project`")
            .hint("leave `--project` away, or change the file")),
            _ => Ok(parsed),
        }
    }
}

fn names(parsed: &Parsed) -> Vec<&str> {
    let services = parsed.spec.services.iter().map(|service| service.name.as_str());
    services.chain(parsed.spec.tasks.iter().map(|task| task.name.as_str())).collect()
}

fn unreadable(name: &str, error: &io::Error) -> CliError {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "`-f FILE` names another file, `-f -` reads stdin",
        _ => "is it a file, and whose is it?",
    };
    CliError::usage(format!("{name} can't be read")).source(error).hint(hint)
}

/// Reads a text of bounded size.
fn read(from: impl Read, name: &str) -> Result<String, CliError> {
    let mut bytes = vec![];
    let limit = u64::try_from(CONFIG_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    let no_config = |why: String| {
        CliError::usage(format!("{name} is no config file")).because(why).hint("is it the right file?")
    };
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(no_config(format!("it has more than {} KiB", CONFIG_BYTES_MAX >> 10)));
    }
    String::from_utf8(bytes)
        .map_err(|error| no_config(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))
}

/// The name of a project whose file gives none: that of its directory, as far as it can be one.
fn named_after(directory: Option<&Path>) -> Option<ProjectName> {
    let name = directory.and_then(Path::file_name)?.to_string_lossy().to_ascii_lowercase();
    let fit = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let label: String = name.chars().map(fit).take(NAME_LENGTH_MAX).collect();
    ProjectName::new(label.trim_matches('-')).ok()
}

/// The name of the project that the config file at `path` describes, if there is one.
pub(crate) fn project_of(path: &Path) -> Result<Option<ProjectName>, CliError> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    let name = path.display().to_string();
    let text = read(file, &name)?;
    let holder = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    let default = named_after(holder.as_deref());
    let source =
        Source { file: &name, text: &text, default_project: default.as_ref().map(ProjectName::as_str) };
    match mill_config::parse(&source) {
        Ok(parsed) => Ok(Some(parsed.spec.name)),
        Err(complaints) => Err(CliError::usage(format!("{name} doesn't say which project is meant"))
            .complaints(complaints, &text)
            .because("it can't be read")
            .hint("put it right, or name the project")),
    }
}

/// A refusal by the cluster, with the file to draw its complaints in.
pub(crate) fn refused(error: ClientError, request: &DeployRequest) -> CliError {
    let mut error = CliError::from(error);
    if let Some(config) = &mut error.config {
        request.source.clone_into(&mut config.text);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;
    use crate::cli::{canned, golden};

    const GOOD: &str = r#"
service "web" {
    image "nginx:1"
}
task "migrate" {
    image "nginx:1"
}
"#;

    fn in_directory(name: &str, text: &str) -> (tempfile::TempDir, FileArgs) {
        let holder = tempfile::tempdir().unwrap();
        let directory = holder.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join(FILE), text).unwrap();
        let file = directory.join(FILE);
        (holder, FileArgs { file, images: vec![], project: None })
    }

    #[test]
    fn a_file_is_sent_as_it_is_with_its_directorys_name() {
        let (_holder, args) = in_directory("My Shop", GOOD);
        let images = vec![parse_image("web=nginx:2").unwrap()];
        let mut screen = canned::Screen::default();
        let request =
            FileArgs { images: images.clone(), ..args.clone() }.request(&mut screen.ui(), true).unwrap();
        assert_eq!(request.source, GOOD);
        assert_eq!(request.default_project.as_str(), "my-shop");
        assert_eq!(request.images, images.into_iter().collect());
        assert!(request.replace);
        let directory = args.file.parent().unwrap();
        assert_eq!(project_of(&directory.join(FILE)).unwrap().unwrap().as_str(), "my-shop");
        assert_eq!(project_of(&directory.join("none")).unwrap(), None);
        assert_eq!(args.whose().unwrap().unwrap().as_str(), "my-shop");
        let gone = FileArgs { file: directory.join("none"), ..args.clone() };
        assert_eq!(gone.whose().unwrap_err().exit, Exit::Usage, "a file that was named must be there");
        let none = FileArgs { file: FILE.into(), ..args };
        assert_eq!(none.whose().unwrap(), None);
    }

    #[test]
    fn a_bad_file_is_refused_with_every_complaint_before_anyone_is_asked() {
        let (_holder, args) = in_directory("shop", "service \"web\" {\n    replica 2\n    prot 80\n}\n");
        let mut error = args.read_and_check(false).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        let complaints = &mut error.config.as_mut().unwrap().complaints.list;
        assert!(complaints.len() >= 3, "{complaints:?}");
        for complaint in complaints {
            complaint.file = FILE.to_owned();
        }
        error.message = "mill.kdl can't be deployed".to_owned();
        golden::check("bad_config", &error.render(&canned::terminal()));
        golden::check("bad_config_json", &(error.json() + "\n"));
        assert!(project_of(&args.file).is_err());
    }

    #[test]
    fn options_that_do_not_fit_the_file_are_refused() {
        let (_holder, args) = in_directory("dir", &format!("project \"shop\"\n{GOOD}"));
        let image = |text: &str| vec![parse_image(text).unwrap()];
        let twice = [image("web=a"), image("web=b")].concat();
        for (args, hint) in [
            (FileArgs { images: image("wbe=nginx:2"), ..args.clone() }, "it has: web, migrate"),
            (FileArgs { images: twice, ..args.clone() }, "leave one"),
            (FileArgs { project: "blog".parse().ok(), ..args.clone() }, "leave `--project` away"),
            (FileArgs { file: "/nonexistent/mill.kdl".into(), ..args.clone() }, "`-f FILE`"),
            (FileArgs { file: "/".into(), ..args.clone() }, "is it a file"),
        ] {
            let error = args.read_and_check(false).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
        }
        assert!(FileArgs { project: "shop".parse().ok(), ..args }.read_and_check(false).is_ok());
        assert!(parse_image("web").is_err() && parse_image("web=A B").is_err());
    }

    #[test]
    fn a_file_that_is_too_long_or_no_text_is_refused_unread() {
        let endless = io::repeat(b'x');
        assert!(read(endless, "f").unwrap_err().because[0].reason.contains("1024 KiB"));
        assert!(read(&b"caf\xe9"[..], "f").unwrap_err().because[0].reason.contains("byte 3"));
        assert_eq!(read(&b"ok"[..], "f").unwrap(), "ok");
    }

    #[test]
    fn complaints_of_a_server_that_point_nowhere_are_drawn_all_the_same() {
        let (_holder, args) = in_directory("shop", "service \"web\" {\n    replica 2\n}\n");
        let mut error = args.read_and_check(false).unwrap_err();
        for complaint in &mut error.config.as_mut().unwrap().complaints.list {
            complaint.place.start = 99_999;
            complaint.place.end = 7;
            complaint.place.line = 0;
            complaint.place.column = 0;
            complaint.place.end_line = usize::MAX;
        }
        assert!(error.render(&canned::terminal()).contains("replica"));
    }
}

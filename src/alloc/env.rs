//! A container's environment and arguments: templates filled in, ports told.
//!
//! What comes out may hold secrets' values. It goes to the container, and into no message: see [`Opened::cover`].

use mill_model::ports::MappedPort;
use mill_model::spec::EnvVar;
use mill_model::template::{Part, Template};
use mill_model::{AllocId, NodeName, Opened, Unusable};
use thiserror::Error;

/// What a node knows when it starts a container.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `${alloc.id}`
    pub alloc: &'a AllocId,
    /// `${alloc.index}`
    pub index: u32,
    /// `${node.name}`
    pub node: &'a NodeName,
    /// `${secret(NAME)}`
    pub secrets: &'a Opened,
}

/// Which of its numbers a program is told of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// What the config declares: the kernel maps it, and the program may bind what it always binds.
    Declared,
    /// What stands for it on the node: the program must bind that.
    Mapped,
}

/// A reference that this node can't fill in. A deploy refuses most of these before anything changes; what a secret's
/// value is good for shows here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfillable {
    /// A secret.
    #[error(transparent)]
    Secret(#[from] Unusable),
    /// A service's address.
    #[error("`${{service.{name}.…}}` can't be filled in: this version has no service addresses")]
    Service {
        /// The service's name.
        name: String,
    },
}

impl Facts<'_> {
    /// The text of `template`. It may hold secrets: it is for the container alone.
    ///
    /// # Errors
    /// The first reference that can't be filled in.
    pub fn fill(&self, template: &Template) -> Result<String, Unfillable> {
        let mut text = String::new();
        for part in &template.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::AllocId => text.push_str(self.alloc.as_str()),
                Part::AllocIndex => text.push_str(&self.index.to_string()),
                Part::NodeName => text.push_str(self.node.as_str()),
                Part::Secret(name) => text.push_str(self.secrets.text(name)?),
                Part::Service(of) => return Err(Unfillable::Service { name: of.name.to_string() }),
            }
        }
        Ok(text)
    }

    /// The texts of `templates`.
    ///
    /// # Errors
    /// The first reference that can't be filled in.
    pub fn fill_all(&self, templates: &[Template]) -> Result<Vec<String>, Unfillable> {
        templates.iter().map(|template| self.fill(template)).collect()
    }

    /// All variables of a container: `PORT` and `MILL_PORT_<NAME>`, then the config's, which win. The former carry
    /// the declared port, or, without the kernel's mapping, the mapped one (product.md §4).
    ///
    /// # Errors
    /// The first reference that can't be filled in.
    pub fn env(
        &self,
        vars: &[EnvVar],
        ports: &[MappedPort],
        told: Told,
    ) -> Result<Vec<(String, String)>, Unfillable> {
        let mut env = port_env(ports, told);
        for var in vars {
            let value = self.fill(&var.value)?;
            match env.iter_mut().find(|(name, _)| *name == var.name) {
                Some(earlier) => earlier.1 = value,
                None => env.push((var.name.clone(), value)),
            }
        }
        Ok(env)
    }
}

fn port_env(ports: &[MappedPort], told: Told) -> Vec<(String, String)> {
    let number = |port: &MappedPort| match told {
        Told::Declared => port.declared.number.to_string(),
        Told::Mapped => port.mapped.to_string(),
    };
    let first = ports.first().map(|port| ("PORT".to_owned(), number(port)));
    let named = ports.iter().map(|port| {
        let label = port.declared.label().to_ascii_uppercase().replace('-', "_");
        (format!("MILL_PORT_{label}"), number(port))
    });
    first.into_iter().chain(named).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use mill_model::ports::{Port, Protocol};
    use mill_model::{Hidden, Pin};

    use super::*;

    fn port(name: Option<&str>, number: u16, mapped: u16) -> MappedPort {
        let name = name.map(|name| name.parse().unwrap());
        let declared = Port { name, number: NonZeroU16::new(number).unwrap(), protocol: Protocol::Tcp };
        MappedPort::new(declared, NonZeroU16::new(mapped).unwrap())
    }

    fn var(name: &str, parts: Vec<Part>) -> EnvVar {
        EnvVar { name: name.to_owned(), value: Template { parts } }
    }

    #[test]
    fn a_program_is_told_its_ports_and_the_config_has_the_last_word() {
        let (alloc, node) = ("web-7k2f".parse().unwrap(), "node-1".parse().unwrap());
        let secrets = Opened::default();
        let facts = Facts { alloc: &alloc, index: 2, node: &node, secrets: &secrets };
        let ports = [port(None, 3000, 20_001), port(Some("admin-ui"), 9090, 20_002)];
        let vars = [
            var("WHO", vec![Part::AllocId, Part::Text("/".into()), Part::AllocIndex, Part::NodeName]),
            var("MILL_PORT_3000", vec![Part::Text("mine".into())]),
        ];
        for (told, first, second) in [(Told::Mapped, "20001", "20002"), (Told::Declared, "3000", "9090")] {
            let env = facts.env(&vars, &ports, told).unwrap();
            let expected = [
                ("PORT", first),
                ("MILL_PORT_3000", "mine"),
                ("MILL_PORT_ADMIN_UI", second),
                ("WHO", "web-7k2f/2node-1"),
            ];
            assert_eq!(env, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
            assert_eq!(facts.env(&[], &[], told), Ok(vec![]));
        }
    }

    #[test]
    fn a_secret_is_filled_in_and_one_that_is_not_there_is_named_and_never_left_blank() {
        let (alloc, node) = ("web-7k2f".parse().unwrap(), "node-1".parse().unwrap());
        let pin = Pin { secret: "shop/db.password".parse().unwrap(), version: 2 };
        let secrets: Opened = [(pin, Hidden::new(b"hunter2".to_vec()))].into_iter().collect();
        let facts = Facts { alloc: &alloc, index: 0, node: &node, secrets: &secrets };
        let url = var("URL", vec![Part::Text("app:".into()), Part::Secret("db.password".into())]);
        assert_eq!(
            facts.env(&[url], &[], Told::Mapped),
            Ok(vec![("URL".to_owned(), "app:hunter2".to_owned())])
        );
        let filled = facts.env(&[var("A", vec![Part::Secret("other".into())])], &[], Told::Mapped);
        assert_eq!(filled, Err(Unfillable::Secret(Unusable::Unpinned { name: "other".into() })));
        assert!(filled.unwrap_err().to_string().contains("${secret(other)}"));
    }
}

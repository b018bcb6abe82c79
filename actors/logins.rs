//! What the cluster is known by to registries, opened and given to this node's images.
//!
//! The state has the passwords sealed; they are opened here, in memory, whenever the state has others. One that can't be
//! opened is left out, and said: images of that registry are then asked for as nobody.

use mill_drivers::images::{Images, Login, Logins};
use mill_drivers::seal::Seal;
use mill_fsm::{Cluster, RegistryLogin};
use mill_model::RegistryHost;

/// What a registry's password is sealed with, so that one can't be passed off as another's.
pub(crate) fn label(host: &RegistryHost) -> String {
    format!("registry {host}")
}

/// Gives `images` what the state says.
pub(crate) fn teach(images: &impl Images, seal: &impl Seal, cluster: &Cluster) {
    let login = |(host, login): (&RegistryHost, &RegistryLogin)| {
        let opened = seal.open(&label(host), &login.sealed);
        let password = opened.map_err(|error| {
            tracing::error!(%host, %error, "the registry's password can't be opened: it is asked as nobody");
        });
        let password = String::from_utf8(password.ok()?.expose().clone()).ok()?;
        Some((host.to_string(), Login { user: login.user.clone(), password }))
    };
    images.know(cluster.registries.iter().filter_map(login).collect::<Logins>());
}

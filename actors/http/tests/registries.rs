//! How the cluster is known to registries: given, listed, replaced, forgotten, and shown to nobody.

use mill_api::registries::SetRegistry;
use mill_api::{ClientError, Code};
use mill_drivers::seal::Seal as _;
use mill_model::RegistryHost;

use super::room::Room;
use super::world::World;
use crate::logins::label;

fn code<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> Code {
    match answer.unwrap_err() {
        ClientError::Refused(error) => error.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_registrys_password_is_sealed_before_it_is_written_and_never_given_out() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    let host: RegistryHost = "r.test:5000".parse().unwrap();
    let login = |password: &str| SetRegistry {
        host: host.clone(),
        user: "ann".to_owned(),
        password: password.to_owned(),
    };
    for password in ["hunter1", "hunter2"] {
        let set = api.set_registry(&login(password)).await.unwrap();
        assert_eq!((set.user.as_str(), set.set_by.as_str()), ("ann", "local"));
        let cluster = room.act(|world| world.cluster.clone());
        let kept = &cluster.registries[&host].sealed;
        assert!(!kept.windows(7).any(|part| part == password.as_bytes()));
        assert_eq!(room.fake.seal.open(&label(&host), kept).unwrap().expose(), password.as_bytes());
        let other: RegistryHost = "other.test".parse().unwrap();
        assert!(room.fake.seal.open(&label(&other), kept).is_err(), "it is another registry's");
    }
    let listed = api.registries().await.unwrap();
    assert_eq!(listed.len(), 1);
    let audit = api.audit(None).await.unwrap();
    assert_eq!(audit.len(), 2);
    assert!(!format!("{listed:?} {audit:?}").contains("hunter"));
    room.fake.seal.lose_key(true);
    assert_eq!(code(api.set_registry(&login("hunter3")).await), Code::Unavailable);
    api.delete_registry(&host).await.unwrap();
    assert!(api.registries().await.unwrap().is_empty());
    assert_eq!(code(api.delete_registry(&host).await), Code::NotFound);
}

#[tokio::test]
async fn what_no_registry_can_be_told_is_refused() {
    let room = Room::new(World::new()).await;
    let long = "x".repeat(20_000);
    for (user, password) in
        [("", "x"), ("a:b", "x"), ("a\n", "x"), ("ann", ""), ("ann", "a\nb"), ("ann", &long)]
    {
        let host = "r.test".parse().unwrap();
        let login = SetRegistry { host, user: user.to_owned(), password: password.to_owned() };
        assert_eq!(code(room.api().set_registry(&login).await), Code::BadRequest, "{user:?}");
    }
}

//! Users and groups by the image's own `/etc/passwd` and `/etc/group`, as Docker resolves them.

use super::files::Files;
use super::{StartError, failed};

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// Highest id that a user or group may have: -1 means "no change" to the kernel.
const ID_MAX: u32 = i32::MAX.unsigned_abs();

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// The identity that `wanted` names: `user`, `user:group`, by name or number; empty: root. A number needs no entry;
/// supplementary groups come from the image's file, unless a group is named.
pub(super) fn resolve(files: &Files, wanted: &str) -> Result<Identity, StartError> {
    let passwd = files.text("etc/passwd").map_err(failed("read /etc/passwd"))?;
    let groups = files.text("etc/group").map_err(failed("read /etc/group"))?;
    identity(&passwd, &groups, wanted).ok_or_else(|| StartError::NoSuchUser { user: wanted.to_owned() })
}

fn identity(passwd: &str, groups: &str, wanted: &str) -> Option<Identity> {
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse().ok().filter(|id| *id <= ID_MAX);
    // A name first: "1000" may be one.
    let entry = passwd
        .lines()
        .filter_map(passwd_line)
        .find(|line| line.name == user)
        .or_else(|| passwd.lines().filter_map(passwd_line).find(|line| Some(line.uid) == number));
    let (name, uid, gid, home) = match (&entry, number) {
        (Some(entry), _) => (entry.name, entry.uid, entry.gid, entry.home),
        (None, Some(uid)) => ("", uid, 0, ""),
        (None, None) => return None,
    };
    let lines = || groups.lines().filter_map(group_line);
    let (gid, supplementary) = match group {
        Some(group) => {
            let number = group.parse().ok().filter(|id| *id <= ID_MAX);
            (lines().find(|line| line.name == group).map(|line| line.gid).or(number)?, vec![])
        }
        None => {
            let member = |line: &GroupLine<'_>| {
                !name.is_empty() && line.members.split(',').any(|one| one.trim() == name)
            };
            (gid, lines().filter(member).map(|line| line.gid).collect())
        }
    };
    let home = if home.is_empty() { "/" } else { home };
    Some(Identity { uid, gid, groups: supplementary, home: home.to_owned() })
}

/// `name:password:uid:gid:comment:home:shell`
fn passwd_line(line: &str) -> Option<PasswdLine<'_>> {
    let fields: Vec<&str> = line.trim().split(':').collect();
    let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { return None };
    let home = rest.get(1).copied().unwrap_or_default();
    Some(PasswdLine { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
}

/// `name:password:gid:member,member`
fn group_line(line: &str) -> Option<GroupLine<'_>> {
    let fields: Vec<&str> = line.trim().split(':').collect();
    let [name, _, gid, rest @ ..] = fields.as_slice() else { return None };
    Some(GroupLine { name, gid: gid.parse().ok()?, members: rest.first().copied().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken:x\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n\
                          1000:x:5:5::/five:\napp:x:1000:1000::/home/app:\n";
    const GROUP: &str =
        "root:x:0:root\nssl:x:101:postgres,app\npostgres:x:70:\nwheel:x:10:root , app\nbad:x:y:app\n";

    /// User, group, supplementary groups, home.
    type Wanted = Option<(u32, u32, &'static [u32], &'static str)>;

    #[test]
    fn users_and_groups_are_found_as_docker_finds_them() {
        let table: [(&str, Wanted); 14] = [
            ("", Some((0, 0, &[0, 10], "/root"))),
            ("root", Some((0, 0, &[0, 10], "/root"))),
            ("0", Some((0, 0, &[0, 10], "/root"))),
            ("postgres", Some((70, 70, &[101], "/var/lib/postgresql"))),
            ("70", Some((70, 70, &[101], "/var/lib/postgresql"))),
            ("1000", Some((5, 5, &[], "/five"))),
            ("4242", Some((4242, 0, &[], "/"))),
            ("app:ssl", Some((1000, 101, &[], "/home/app"))),
            ("app:7", Some((1000, 7, &[], "/home/app"))),
            ("4242:4343", Some((4242, 4343, &[], "/"))),
            ("app:", Some((1000, 1000, &[101, 10], "/home/app"))),
            ("nobody", None),
            ("app:nobody", None),
            ("4294967295", None),
        ];
        for (wanted, found) in table {
            let got = identity(PASSWD, GROUP, wanted);
            let got = got.as_ref().map(|id| (id.uid, id.gid, id.groups.as_slice(), id.home.as_str()));
            assert_eq!(got, found, "`{wanted}`");
        }
    }

    #[test]
    fn an_image_without_users_has_numbers() {
        assert_eq!(identity("", "", "").map(|id| (id.uid, id.gid, id.home)), Some((0, 0, "/".to_owned())));
        assert_eq!(identity("", "", "12:13").map(|id| (id.uid, id.gid)), Some((12, 13)));
        assert_eq!(identity("", "", "root"), None);
    }
}

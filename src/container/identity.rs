//! Who the accounts of guests are on the host: a range of user IDs that no account of the host has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, getgid, getuid};

use super::error::{AtStep, ContainerError};
use crate::confined::Owner;

/// How many IDs a guest has.
const COUNT: u32 = 65536;

/// Root can take any range: the one after those that systemd-nspawn takes from.
const RANGE_OF_ROOT: u32 = 0x7000_0000;

/// The root of a Nix build has this one, which no account of the host has.
const RANGE_OF_BUILD: u32 = 0;

/// Which IDs of the host are those of the guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The guests' root is `first`, others follow.
    Root { first: u32 },
    /// The guests' root is this user, others are in the user's ranges of `/etc/subuid` and `/etc/subgid`.
    User { first_user: u32, first_group: u32 },
}

impl Identity {
    /// Finds the one for this process.
    ///
    /// # Errors
    /// Returns an error if the user has no range.
    pub fn find() -> Result<Self, ContainerError> {
        if getuid().is_root() {
            let first = range_of_root().ok_or(ContainerError::FewIds)?;
            return Ok(Self::Root { first });
        }
        let name = user_name();
        let first = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            range_of(&text, &name, getuid()).ok_or_else(|| ContainerError::NoRange {
                file: PathBuf::from(file),
                user: name.clone(),
            })
        };
        Ok(Self::User {
            first_user: first("/etc/subuid")?,
            first_group: first("/etc/subgid")?,
        })
    }

    /// Gives the user namespace of a process its IDs.
    ///
    /// # Errors
    /// Returns an error if the kernel, or `newuidmap`, refuses.
    pub(super) fn map(&self, process: u32) -> Result<(), ContainerError> {
        let folder = Path::new("/proc").join(process.to_string());
        match self {
            Self::Root { first } => {
                let line = format!("0 {first} {COUNT}");
                for name in ["uid_map", "gid_map"] {
                    fs::write(folder.join(name), &line).at_step(format!("writing {name}"))?;
                }
                Ok(())
            }
            Self::User {
                first_user,
                first_group,
            } => {
                let Owner { user, group } = guest_root();
                map_by("newuidmap", process, user, *first_user)?;
                map_by("newgidmap", process, group, *first_group)
            }
        }
    }
}

/// The guests' root, as the host sees it: the first of root's range, or this user.
pub(super) fn guest_root() -> Owner {
    let (user, group) = if getuid().is_root() {
        let first = range_of_root().unwrap_or(RANGE_OF_ROOT);
        (first, first)
    } else {
        (getuid().as_raw(), getgid().as_raw())
    };
    Owner { user, group }
}

/// Whether this process is the root of a namespace that has one range and no more, as that of a Nix build.
pub(super) fn is_root_of_build() -> bool {
    getuid().is_root() && range_of_root() == Some(RANGE_OF_BUILD)
}

/// The first ID of the range that root takes, of those that this process' namespace has.
fn range_of_root() -> Option<u32> {
    let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(fs::read_to_string);
    let [Ok(users), Ok(groups)] = maps else {
        return None;
    };
    [RANGE_OF_ROOT, RANGE_OF_BUILD]
        .into_iter()
        .find(|first| has_range(&users, *first) && has_range(&groups, *first))
}

/// Whether a namespace has a range, by its map: lines `FIRST FIRST-OUTSIDE COUNT`.
fn has_range(map: &str, first: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (Some(Ok(from)), _, Some(Ok(count))) = (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        from <= first && first - from <= count && count - (first - from) >= COUNT
    })
}

/// The guests' root is `own`; what follows are those of the range.
fn map_by(program: &str, process: u32, own: u32, first: u32) -> Result<(), ContainerError> {
    let output = Command::new(program)
        .arg(process.to_string())
        .args([0, own, 1, 1, first, COUNT - 1].map(|number| number.to_string()))
        .output()
        .at_step(format!(
            "starting {program} (on Debian: `apt install uidmap`)"
        ))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ContainerError::Program {
        program: program.to_owned(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn user_name() -> String {
    nix::unistd::User::from_uid(getuid())
        .ok()
        .flatten()
        .map_or_else(|| getuid().to_string(), |user| user.name)
}

/// The first ID of a user's range in a text as `/etc/subuid`: lines `NAME-OR-ID:FIRST:COUNT`.
fn range_of(text: &str, name: &str, id: Uid) -> Option<u32> {
    let id = id.to_string();
    text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let owner = parts.next()?;
        let first = parts.next()?.parse().ok()?;
        let count: u32 = parts.next()?.trim().parse().ok()?;
        let fits = (owner == name || owner == id) && count >= COUNT - 1;
        fits.then_some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_the_ranges_of_its_map() {
        let host = "         0          0 4294967295\n";
        assert!(has_range(host, RANGE_OF_ROOT) && has_range(host, RANGE_OF_BUILD));
        let build = "         0  872415232      65536\n";
        assert!(!has_range(build, RANGE_OF_ROOT) && has_range(build, RANGE_OF_BUILD));
        let user = "0 1000 1\n";
        assert!(!has_range(user, RANGE_OF_ROOT) && !has_range(user, RANGE_OF_BUILD));
    }

    #[test]
    fn a_range_is_that_of_the_user_and_large_enough() {
        let text = "root:1:65536\nanna:100000:1000\nanna:200000:65536\n1007:300000:65535\nbad\n";
        let range = |name, id| range_of(text, name, Uid::from_raw(id));
        assert_eq!(range("anna", 1000), Some(200_000));
        assert_eq!(range("bert", 1007), Some(300_000));
        assert_eq!(range("carl", 1008), None);
    }
}

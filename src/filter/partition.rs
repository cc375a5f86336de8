//! Parts of a selection, for several machines of a CI: each runs one, and together they run all.

use std::str::FromStr;

use thiserror::Error;

use super::TestSubject;

/// Why a text names no part.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a part is `hash:K/N` or `slice:K/N`, with K from 1 to N, and not `{0}`")]
pub struct PartitionError(String);

/// One of several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    kind: PartitionKind,
    /// From 0.
    part: usize,
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartitionKind {
    /// By the names of tests: a test stays in its part when others come and go.
    Hash,
    /// Runs of neighbours, of equal length.
    Slice,
}

impl FromStr for Partition {
    type Err = PartitionError;

    fn from_str(text: &str) -> Result<Self, PartitionError> {
        parse(text).ok_or_else(|| PartitionError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Partition> {
    let (kind, numbers) = text.split_once(':')?;
    let (part, count) = numbers.split_once('/')?;
    let (part, count): (usize, usize) = (part.parse().ok()?, count.parse().ok()?);
    let kind = match kind {
        "hash" => PartitionKind::Hash,
        "slice" => PartitionKind::Slice,
        _ => return None,
    };
    let part = part.checked_sub(1).filter(|part| *part < count)?;
    Some(Partition { kind, part, count })
}

/// The slice of a test at a position, from 0, of `count` slices of `total` tests.
fn slice_of(position: usize, count: usize, total: usize) -> u64 {
    let slice = position as u128 * count as u128 / total.max(1) as u128;
    u64::try_from(slice).unwrap_or(u64::MAX)
}

impl Partition {
    /// The tests of this part, in their order.
    pub(super) fn part_of<'a, T>(
        &self,
        tests: Vec<(T, TestSubject<'a>)>,
    ) -> Vec<(T, TestSubject<'a>)> {
        let total = tests.len();
        let tests = tests.into_iter().enumerate();
        let own = tests.filter(|(position, (_, test))| {
            let part = match self.kind {
                PartitionKind::Hash => self.part_of_hash(hash(test.attribute, test.name)),
                PartitionKind::Slice => slice_of(*position, self.count, total),
            };
            part == self.part as u64
        });
        own.map(|(_, test)| test).collect()
    }

    /// Whether something without a place among the tests belongs to this part.
    pub(super) fn takes_label(&self, label: &str) -> bool {
        self.part_of_hash(hash(label, "")) == self.part as u64
    }

    fn part_of_hash(&self, hash: u64) -> u64 {
        hash % self.count as u64
    }
}

/// Returns a hash that is equal on all machines and in all versions of this program.
fn hash(attribute: &str, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(attribute.as_bytes());
    hasher.update(b"\0");
    hasher.update(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(partition: &str, names: &[&'static str]) -> Vec<&'static str> {
        let subject = |name: &&'static str| TestSubject {
            name,
            attribute: "",
            machines: 1,
            ..TestSubject::default()
        };
        let partition: Partition = partition.parse().unwrap();
        let tests = names.iter().map(|name| (*name, subject(name)));
        let chosen = partition.part_of(tests.collect());
        chosen.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn parts_are_all_of_it_and_do_not_overlap() {
        let all = ["a", "b", "c", "d", "e", "f", "g"];
        for kind in ["hash", "slice"] {
            let parts = (1..=3).flat_map(|part| names(&format!("{kind}:{part}/3"), &all));
            let mut parts: Vec<_> = parts.collect();
            parts.sort_unstable();
            assert_eq!(parts, all, "{kind}");
        }
        assert_eq!(names("slice:1/3", &all), ["a", "b", "c"]);
        assert!(names("slice:3/9", &[]).is_empty());
    }

    #[test]
    fn a_hash_does_not_depend_on_the_others() {
        let all = names("hash:1/2", &["a", "b", "c", "d"]);
        let fewer = names("hash:1/2", &["d", "c"]);
        assert!(fewer.iter().all(|name| all.contains(name)));
        // Another version must not give another part.
        assert_eq!(all, ["b", "d"]);
    }

    #[test]
    fn what_is_no_part_is_said() {
        for wrong in ["", "hash", "hash:0/2", "hash:3/2", "slice:1", "half:1/2"] {
            assert!(wrong.parse::<Partition>().is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parts_of_any_number_are_all_tests_together(count in 1_usize..50, total in 0_usize..60) {
            let all = vec!["test"; total];
            for kind in ["hash", "slice"] {
                let sizes = (1..=count).map(|part| names(&format!("{kind}:{part}/{count}"), &all).len());
                assert_eq!(sizes.sum::<usize>(), total);
            }
        }

        #[test]
        fn parts_are_read_as_they_are_printed(count in 1..usize::MAX, part: usize, is_hash: bool) {
            let (name, kind) = if is_hash {
                ("hash", PartitionKind::Hash)
            } else {
                ("slice", PartitionKind::Slice)
            };
            let part = part % count;
            let read = format!("{name}:{}/{count}", part + 1).parse();
            assert_eq!(read, Ok(Partition { kind, part, count }));
        }

        #[test]
        fn any_text_is_a_part_or_an_error(text: String, part: usize, count: usize) {
            let _ = text.parse::<Partition>();
            if let Ok(partition) = format!("slice:{part}/{count}").parse::<Partition>() {
                let subject = TestSubject::default();
                assert!(partition.part_of(vec![((), subject)]).len() <= 1);
            }
        }
    }
}

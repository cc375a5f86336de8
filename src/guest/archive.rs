//! All packages of a suite, and what each of them needs.
//!
//! apt's own resolver is not asked: packages that exclude each other on one machine (two mail servers) are side
//! by side in the store.

use std::collections::{BTreeMap, BTreeSet};

use debversion::Version;

use super::package::{Package, bare_name, fields};
use super::suite::Apt;
use super::tool::{Error, output};

/// A package as the suite's list describes it.
#[derive(Debug, Default)]
struct Record {
    version: String,
    sha256: String,
    /// For each thing that it needs what will do.
    needs: Vec<Vec<Alternative>>,
}

/// One of the packages that will do: `python3 (<< 3.12)`.
#[derive(Debug, PartialEq, Eq)]
struct Alternative {
    name: String,
    /// The relation and the version, if not any version will do.
    restriction: Option<(String, String)>,
}

impl Alternative {
    fn parse(text: &str) -> Option<Self> {
        let restriction = text.split_once('(').and_then(|(_, rest)| {
            let inner = rest.split_once(')')?.0.trim();
            let end = inner.find(|c: char| !"<>=".contains(c))?;
            let (relation, version) = inner.split_at(end);
            Some((relation.to_owned(), version.trim().to_owned()))
        });
        Some(Self {
            name: bare_name(text)?.to_owned(),
            restriction,
        })
    }

    /// Whether a version will do, as far as both can be read.
    fn takes(&self, version: &str) -> bool {
        let Some((relation, limit)) = &self.restriction else {
            return true;
        };
        let (Ok(version), Ok(limit)) = (version.parse::<Version>(), limit.parse::<Version>())
        else {
            return true;
        };
        match relation.as_str() {
            "<<" => version < limit,
            "<=" => version <= limit,
            "=" => version == limit,
            ">=" => version >= limit,
            ">>" => version > limit,
            _ => true,
        }
    }
}

/// The packages of a suite, by name.
#[derive(Debug, Default)]
pub(super) struct Archive {
    records: BTreeMap<String, Record>,
    /// Who provides a name that no package has.
    providers: BTreeMap<String, Vec<String>>,
}

impl Archive {
    /// Reads the lists that apt has of the suite.
    ///
    /// # Errors
    /// Returns an error if apt is missing or fails.
    pub fn read(apt: &Apt) -> Result<Self, Error> {
        let text = output(apt.command("apt-cache").arg("dumpavail"))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut archive = Self::default();
        for stanza in text.split("\n\n") {
            archive.add(stanza);
        }
        archive
    }

    fn add(&mut self, stanza: &str) {
        let mut record = Record::default();
        let mut package = "";
        let mut provides = "";
        for (field, value) in fields(stanza) {
            match field {
                "Package" => package = value,
                "Version" => value.clone_into(&mut record.version),
                "SHA256" => value.clone_into(&mut record.sha256),
                "Provides" => provides = value,
                "Depends" | "Pre-Depends" => {
                    record.needs.extend(value.split(',').map(alternatives));
                }
                _ => {}
            }
        }
        if package.is_empty() || record.sha256.is_empty() {
            return;
        }
        for name in provides.split(',').filter_map(bare_name) {
            let names = self.providers.entry(name.to_owned()).or_default();
            names.push(package.to_owned());
        }
        self.records.insert(package.to_owned(), record);
    }

    /// The version of each package.
    pub fn versions(&self) -> BTreeMap<&str, &str> {
        let records = self.records.iter();
        records
            .map(|(name, record)| (name.as_str(), record.version.as_str()))
            .collect()
    }

    /// The wanted packages and all that they need, but for those `left_out`.
    ///
    /// # Errors
    /// Returns an error if the suite has not all of the wanted ones.
    pub fn closure(
        &self,
        wanted: &BTreeSet<String>,
        left_out: &[String],
    ) -> Result<BTreeMap<String, Package>, Error> {
        let left_out: BTreeSet<&str> = left_out
            .iter()
            .map(String::as_str)
            .filter(|name| !wanted.contains(*name))
            .collect();
        let mut found: BTreeMap<String, Package> = BTreeMap::new();
        let mut open: Vec<String> = wanted.iter().cloned().collect();
        while let Some(name) = open.pop() {
            if found.contains_key(&name) {
                continue;
            }
            let record = self
                .records
                .get(&name)
                .ok_or_else(|| Error::NotFound(name.clone()))?;
            let depends: BTreeSet<String> = record
                .needs
                .iter()
                .filter_map(|alternatives| self.choose(alternatives, wanted, &left_out))
                .filter(|dependency| *dependency != name)
                .collect();
            open.extend(depends.iter().cloned());
            let package = Package {
                version: record.version.clone(),
                sha256: record.sha256.clone(),
                depends,
            };
            found.insert(name, package);
        }
        Ok(found)
    }

    /// One of the packages that will do; None if one of them is left out. The choice
    /// depends on what is wanted alone, so that it is the same each time.
    fn choose(
        &self,
        alternatives: &[Alternative],
        wanted: &BTreeSet<String>,
        left_out: &BTreeSet<&str>,
    ) -> Option<String> {
        let is_left_out = |one: &Alternative| left_out.contains(one.name.as_str());
        if alternatives.iter().any(is_left_out) {
            return None;
        }
        let is_right = |one: &&Alternative| {
            let record = self.records.get(&one.name);
            record.is_none_or(|record| one.takes(&record.version))
        };
        let names = || alternatives.iter().filter(is_right).map(|one| &one.name);
        let providing = |name: &String| self.providers.get(name).into_iter().flatten();
        let wanted_one = names()
            .flat_map(|name| std::iter::once(name).chain(providing(name)))
            .find(|name| wanted.contains(*name));
        let any = || {
            names().find_map(|name| {
                let own = self.records.contains_key(name).then_some(name);
                own.or_else(|| providing(name).min())
            })
        };
        wanted_one.or_else(any).cloned()
    }
}

/// Parses the alternatives of a dependency such as `libc6 (>= 2.36) | libc6-compat`.
fn alternatives(text: &str) -> Vec<Alternative> {
    text.split('|').filter_map(Alternative::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "Package: a\nVersion: 1\nDepends: b (>= 2) | x, mail, gone\nSHA256: aa\n\n\
        Package: b\nVersion: 2\nPre-Depends: a:any\nDescription: b\n more\nSHA256: bb\n\n\
        Package: exim\nVersion: 3\nProvides: mail (= 1)\nConflicts: mail\nSHA256: cc\n\n\
        Package: backport\nVersion: 1\nDepends: c | b (<< 2), d | b (<< 10~)\nSHA256: ee\n\n\
        Package: c\nVersion: 1\nSHA256: ff\n\nPackage: d\nVersion: 1\nSHA256: 00\n\n\
        Package: postfix\nVersion: 4\nProvides: mail\nConflicts: mail\nSHA256: dd\n";

    fn closure(wanted: &[&str], left_out: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let wanted = owned(wanted).into_iter().collect();
        let archive = Archive::parse(LIST);
        let found = archive.closure(&wanted, &owned(left_out)).unwrap();
        found.into_keys().collect()
    }

    #[test]
    fn a_closure_takes_what_is_wanted_among_alternatives() {
        assert_eq!(closure(&["a"], &[]), ["a", "b", "exim"]);
        assert_eq!(closure(&["a", "postfix"], &[]), ["a", "b", "postfix"]);
        assert_eq!(
            closure(&["a", "exim", "postfix"], &["b"]),
            ["a", "exim", "postfix"]
        );
    }

    #[test]
    fn an_alternative_of_another_version_does_not_do() {
        assert_eq!(closure(&["backport", "b"], &["a"]), ["b", "backport", "c"]);
    }

    #[test]
    fn what_the_suite_has_not_is_named() {
        let archive = Archive::parse(LIST);
        let wanted = BTreeSet::from(["nothing".to_owned()]);
        let error = archive.closure(&wanted, &[]).unwrap_err();
        assert!(matches!(error, Error::NotFound(name) if name == "nothing"));
    }
}

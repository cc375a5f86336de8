//! The name that a user may have meant by a wrong one.

/// Returns the question for the most similar of the names, if one is similar enough.
#[must_use]
pub fn did_you_mean<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    names
        .into_iter()
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        // One slip for every four letters.
        .filter(|(distance, other)| *distance <= other.len().min(name.len()) / 4)
        .min()
        .map(|(_, other)| format!("did you mean `{other}`?"))
}

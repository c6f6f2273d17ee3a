//! "Did you mean": the nearest of the names that exist.

/// A hint naming the closest candidate within three edits, or `None`.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, candidates).map(|best| format!("Did you mean \"{best}\"?"))
}

/// The closest candidate within three edits and less than two thirds of the name's length.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let limit = 3.min(folded.chars().count().saturating_mul(2) / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_and_nothing_far() {
        assert_eq!(nearest("lineitme", ["orders", "lineitem"]), Some("lineitem"));
        assert_eq!(nearest("xyz", ["orders", "lineitem"]), None);
        assert_eq!(nearest("a", ["b"]), Some("b"));
    }
}

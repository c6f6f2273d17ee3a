//! ListObjectsV2: keys in order, grouped by a delimiter, a page at a time.

use s3s::dto::{CommonPrefix, ListObjectsV2Input, ListObjectsV2Output, Object};
use s3s::{S3Result, s3_error};

use crate::store::{Entry, Store};

/// A page has no more than this.
const PAGE_MAX: i32 = 1_000;

/// Where a page ended, which is what a continuation token says.
enum End {
    /// At this key.
    Key(String),
    /// After all keys that begin so.
    Prefix(String),
}

impl End {
    fn token(&self) -> String {
        match self {
            End::Key(key) => format!("k{key}"),
            End::Prefix(prefix) => format!("p{prefix}"),
        }
    }

    fn parse(token: &str) -> S3Result<End> {
        match token.split_at_checked(1) {
            Some(("k", key)) => Ok(End::Key(key.to_owned())),
            Some(("p", prefix)) => Ok(End::Prefix(prefix.to_owned())),
            _ => Err(s3_error!(InvalidArgument, "the continuation token is incorrect")),
        }
    }

    fn covers(&self, key: &str) -> bool {
        match self {
            End::Key(end) => key <= end.as_str(),
            End::Prefix(end) => key.starts_with(end) || key <= end.as_str(),
        }
    }
}

/// One page of a list.
pub(crate) fn list(store: &Store, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    let max_keys = input.max_keys.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
    let mut end = match &input.continuation_token {
        Some(token) => Some(End::parse(token)?),
        None => input.start_after.clone().map(End::Key),
    };
    let (mut contents, mut prefixes, mut is_truncated) = (Vec::new(), Vec::new(), false);
    store.scan(&input.bucket, &prefix, |entry| {
        if end.as_ref().is_some_and(|end| end.covers(&entry.key)) {
            return true;
        }
        if (contents.len() + prefixes.len()) as i32 >= max_keys {
            is_truncated = max_keys > 0;
            return false;
        }
        match group(&entry.key, prefix.len(), delimiter.as_deref()) {
            Some(group) => {
                prefixes.push(CommonPrefix { prefix: Some(group.to_owned()) });
                end = Some(End::Prefix(group.to_owned()));
            }
            None => {
                contents.push(object(entry));
                end = Some(End::Key(entry.key.clone()));
            }
        }
        true
    })?;
    Ok(ListObjectsV2Output {
        key_count: Some((contents.len() + prefixes.len()) as i32),
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        is_truncated: Some(is_truncated),
        next_continuation_token: end.filter(|_| is_truncated).map(|end| end.token()),
        name: Some(input.bucket),
        prefix: input.prefix,
        delimiter: input.delimiter,
        max_keys: Some(max_keys),
        continuation_token: input.continuation_token,
        start_after: input.start_after,
        ..Default::default()
    })
}

/// What stands for a key whose rest, from `start` on, has the delimiter in it.
fn group<'a>(key: &'a str, start: usize, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter?;
    let at = key.get(start..)?.find(delimiter)?;
    key.get(..start + at + delimiter.len())
}

fn object(entry: &Entry) -> Object {
    Object {
        key: Some(entry.key.clone()),
        e_tag: Some(entry.e_tag()),
        size: Some(entry.size as i64),
        last_modified: Some(entry.modified().into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Attributes, Conditions};

    /// Every page of a list, joined: keys, and prefixes in brackets.
    fn pages(store: &Store, prefix: &str, delimiter: Option<&str>, max_keys: i32) -> Vec<String> {
        let mut input = ListObjectsV2Input {
            bucket: "b".to_owned(),
            prefix: Some(prefix.to_owned()),
            delimiter: delimiter.map(str::to_owned),
            max_keys: Some(max_keys),
            ..Default::default()
        };
        let mut found = Vec::new();
        loop {
            let page = list(store, input.clone()).unwrap();
            assert!(page.key_count.unwrap() <= max_keys);
            found.extend(page.contents.unwrap().into_iter().filter_map(|object| object.key));
            let prefixes = page.common_prefixes.unwrap().into_iter().filter_map(|one| one.prefix);
            found.extend(prefixes.map(|prefix| format!("[{prefix}]")));
            input.continuation_token = page.next_continuation_token;
            assert_eq!(page.is_truncated.unwrap(), input.continuation_token.is_some());
            if input.continuation_token.is_none() {
                return found;
            }
        }
    }

    #[test]
    fn lists_are_complete_in_pages_of_any_size() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.create_bucket("b").unwrap();
        for key in ["a", "d/", "d/1", "d/2/x", "d/2/y", "d/3", "d0", "z"] {
            let put = store.put("b", key, b"", Attributes::default(), &Conditions::default(), None);
            put.unwrap();
        }
        for size in 1..9 {
            let all = ["a", "d/", "d/1", "d/2/x", "d/2/y", "d/3", "d0", "z"];
            assert_eq!(pages(&store, "", None, size), all);
            let mut grouped = pages(&store, "", Some("/"), size);
            grouped.sort();
            assert_eq!(grouped, ["[d/]", "a", "d0", "z"]);
            let mut inside = pages(&store, "d/", Some("/"), size);
            inside.sort();
            assert_eq!(inside, ["[d/2/]", "d/", "d/1", "d/3"]);
        }
        assert!(pages(&store, "none", None, 3).is_empty());
    }
}

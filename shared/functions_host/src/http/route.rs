//! Route templates of HTTP functions: `reprocess/{container}/{id:int}/{rest?}` and `files/{*path}`.

use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub(crate) struct Route {
    template: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(String),
    Parameter { name: String, optional: bool, constraint: Constraint },
    Rest { name: String },
}

#[derive(Debug, Clone, Copy)]
enum Constraint {
    None,
    Integer,
    Alpha,
    Guid,
    Boolean,
}

impl Route {
    pub(crate) fn parse(template: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let pieces: Vec<&str> = template.trim_matches('/').split('/').filter(|piece| !piece.is_empty()).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len();
            segments.push(Segment::parse(piece, last).map_err(|why| format!("segment {piece:?} {why}"))?);
        }
        match segments.len() {
            1..=32 => Ok(Self { template: template.to_owned(), segments }),
            _ => Err("must have 1 to 32 segments".to_owned()),
        }
    }

    /// As `function.json` has it.
    pub(crate) fn template(&self) -> &str {
        &self.template
    }

    /// The parameters if `path` (decoded segments after the prefix) fits. Literals compare without regard to case.
    pub(crate) fn matches(&self, path: &[String]) -> Option<BTreeMap<String, String>> {
        let mut parameters = BTreeMap::new();
        let mut rest = path.iter();
        for segment in &self.segments {
            match segment {
                Segment::Rest { name } => {
                    let tail: Vec<&str> = rest.by_ref().map(String::as_str).collect();
                    parameters.insert(name.clone(), tail.join("/"));
                }
                Segment::Literal(literal) => {
                    rest.next().filter(|piece| piece.eq_ignore_ascii_case(literal))?;
                }
                Segment::Parameter { name, optional, constraint } => match rest.next() {
                    Some(piece) if constraint.allows(piece) => {
                        parameters.insert(name.clone(), piece.clone());
                    }
                    None if *optional => {}
                    _ => return None,
                },
            }
        }
        rest.next().is_none().then_some(parameters)
    }

    /// Of several routes that fit, the one with most literals is meant, then the one without a rest.
    pub(crate) fn rank(&self) -> (usize, bool) {
        let literals = self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
        (literals, !matches!(self.segments.last(), Some(Segment::Rest { .. })))
    }
}

impl Segment {
    fn parse(piece: &str, last: bool) -> Result<Self, &'static str> {
        let Some(inner) = piece.strip_prefix('{').and_then(|piece| piece.strip_suffix('}')) else {
            let literal = !piece.contains(['{', '}', '*', '?']);
            return if literal { Ok(Self::Literal(piece.to_owned())) } else { Err("mixes text and a parameter") };
        };
        let (inner, optional) = match inner.strip_suffix('?') {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let (name, constraint) = match inner.split_once(':') {
            Some((name, constraint)) => (name, Constraint::parse(constraint)?),
            None => (inner, Constraint::None),
        };
        let rest = name.starts_with('*');
        let name = name.trim_start_matches('*');
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("needs a name of letters, digits and underscores");
        }
        match (rest, last) {
            (true, true) => Ok(Self::Rest { name: name.to_owned() }),
            (true, false) => Err("takes the rest of the path, so it must come last"),
            (false, false) if optional => Err("is optional, so it must come last"),
            (false, _) => Ok(Self::Parameter { name: name.to_owned(), optional, constraint }),
        }
    }
}

impl Constraint {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "int" | "long" => Ok(Self::Integer),
            "alpha" => Ok(Self::Alpha),
            "guid" => Ok(Self::Guid),
            "bool" => Ok(Self::Boolean),
            _ => Err("has a constraint that is not understood; known: int, long, alpha, guid, bool"),
        }
    }

    fn allows(self, piece: &str) -> bool {
        match self {
            Self::None => true,
            Self::Integer => piece.parse::<i64>().is_ok(),
            Self::Alpha => piece.bytes().all(|b| b.is_ascii_alphabetic()),
            Self::Guid => uuid::Uuid::try_parse(piece).is_ok(),
            Self::Boolean => piece.parse::<bool>().is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn routes() {
        let cases = [
            ("status", "status", Some("")),
            ("status", "Status", Some("")),
            ("status", "other", None),
            ("status", "status/more", None),
            ("reprocess/{container}", "reprocess/in", Some("container=in")),
            ("reprocess/{container}", "reprocess", None),
            ("reprocess/{container?}", "reprocess", Some("")),
            ("item/{id:int}", "item/12", Some("id=12")),
            ("item/{id:int}", "item/x", None),
            ("files/{*path}", "files/a/b/c", Some("path=a/b/c")),
        ];
        for (template, path, expected) in cases {
            let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
            let found = Route::parse(template).unwrap().matches(&segments);
            let found = found.map(|map| map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","));
            assert_eq!(found.as_deref(), expected, "{template} on {path}");
        }
    }

    #[test]
    fn bad_templates() {
        for template in ["", "a{b}", "{*rest}/more", "{a?}/b", "{}", "{id:range(1,2)}"] {
            Route::parse(template).unwrap_err();
        }
    }
}

//! A draft as the text of a contract, with comments where a person should look.

use std::fmt::Write;

use weir_contract::DataType;

use crate::Source;
use crate::values::Verdict;

/// A column of the draft.
#[derive(Debug, Clone)]
pub struct DraftColumn {
    pub name: String,
    /// The field that it is made of, where that is called something else.
    pub from: Option<String>,
    pub(crate) verdict: Verdict,
    /// Share of the records that have no value, in percent.
    pub(crate) missing_percent: f64,
}

impl DraftColumn {
    pub fn data_type(&self) -> DataType {
        self.verdict.data_type
    }

    fn line(&self) -> (String, String) {
        let mut line =
            format!("    {{ name = {}, type = {}", quoted(&self.name), quoted(&self.data_type().to_string()));
        if let Some(from) = &self.from {
            let _ = write!(line, ", from = {}", quoted(from));
        }
        if let Some(format) = &self.verdict.format {
            let _ = write!(line, ", format = {}", quoted(format));
        }
        line.push_str(" },");
        let mut notes = Vec::new();
        if let Some(or) = &self.verdict.or {
            notes.push(format!("or {}: no day in the sample is above 12", quoted(or)));
        }
        if let Some(personal) = self.verdict.personal {
            let (looks, treatment) = (personal.looks_like(), personal.treatment());
            notes.push(format!("looks like {looks}: personal = \"{treatment}\"?"));
        }
        if self.missing_percent > 0.0 {
            notes.push(match self.missing_percent {
                all if all >= 100.0 => "never there in the sample".to_owned(),
                some if some < 0.1 => "rarely missing".to_owned(),
                some => format!("{some:.1} % missing"),
            });
        }
        (line, notes.join("; "))
    }
}

/// Everything that is written, in the order of a contract.
#[derive(Debug)]
pub(crate) struct Text<'d> {
    pub(crate) name: &'d str,
    pub(crate) head: &'d [String],
    pub(crate) columns: &'d [DraftColumn],
    pub(crate) source: &'d Source,
    pub(crate) format: &'d [(&'static str, String)],
    pub(crate) match_case: bool,
}

impl Text<'_> {
    pub(crate) fn toml(&self) -> String {
        let mut text = String::new();
        for line in self.head {
            let _ = writeln!(text, "# {}", line.replace(['\n', '\r'], " "));
        }
        let _ = writeln!(text, "name = {}\n\ncolumns = [", quoted(self.name));
        let lines: Vec<_> = self.columns.iter().map(DraftColumn::line).collect();
        // Comments stand below each other, unless a line is far longer than the others.
        let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 96).max().unwrap_or(0);
        for (line, note) in lines {
            let _ = match note.is_empty() {
                true => writeln!(text, "{line}"),
                false => writeln!(text, "{line:<width$} # {note}"),
            };
        }
        text.push_str("]\n\n[source]\n");
        let _ = match self.source {
            Source::Blob { container, paths } => {
                let paths: Vec<String> = paths.iter().map(|path| quoted(path)).collect();
                let paths = if let [path] = &paths[..] { path.clone() } else { format!("[{}]", paths.join(", ")) };
                writeln!(text, "kind = \"blob\"\ncontainer = {}\npath = {paths}", quoted(container))
            }
            Source::Hub { hub } => {
                writeln!(text, "kind = \"events\"\nhub = {}\nconsumer_group = \"weir\"", quoted(hub))
            }
        };
        if !self.format.is_empty() {
            text.push_str("\n[format]\n");
            for (key, value) in self.format {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        if self.match_case {
            text.push_str("\n[drift]\nmatch_case = true\n");
        }
        text
    }
}

/// A basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

//! `weir init`: a folder in which a project begins.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The project's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Patterns for `.gitignore`: what local runs leave behind, and files of settings, which may hold keys.
const IGNORED: &str = ".weir/\n*.env\nweir.zip*\ndist/\n";

const README: &str = "# Datasets

Each file in `datasets` is the contract of one dataset.

```sh
weir new <file>    # a contract from a file
weir check         # every error in every contract
weir dev           # the app on this machine
weir package dist  # the folder to deploy
```
";

/// Writes the files that are not there yet, and nothing over others.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let datasets = arguments.folder.join("datasets");
    std::fs::create_dir_all(&datasets).with_context(|| format!("create {}", datasets.display()))?;
    for (name, text) in [(".gitignore", IGNORED), ("README.md", README)] {
        write_new(&arguments.folder.join(name), text)?;
    }
    say(format_args!("{}: your contracts go here; `weir new <file>` writes the first", datasets.display()));
    Ok(ExitCode::SUCCESS)
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    match std::fs::File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            say(format_args!("{} is there already, and stays as it is", path.display()));
        }
        Err(error) => return Err(error).with_context(|| format!("write {}", path.display())),
    }
    Ok(())
}

//! `sidetone check`: what is wrong with graph files, before running.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sidetone::{Checked, Diagnostics, Graph, LoadOptions};

use super::{FINE, WRONG, complain, kinds, note, say, setting};

/// Check graph files and parts; opens no device, socket, media file or codec
#[derive(Args)]
pub(super) struct Check {
    /// The graph files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Give a parameter of the graph, or of a node (cam.fps=15)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Print a line of JSON a file: {"file": …, "ok": …, "problems": […]}
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self) -> u8 {
        let options = LoadOptions { overrides: &self.set, ..LoadOptions::default() };
        let mut code = FINE;
        for file in &self.files {
            match Graph::check(file, &kinds(Some(file)), &options) {
                Ok(checked) if self.json => say(&as_json(file, true, &checked.warnings)),
                Ok(Checked { is_part, nodes, links, templates, warnings }) => {
                    note(&warnings.to_string());
                    let part = if is_part { " a part:" } else { "" };
                    let templates = if is_part && templates == 0 {
                        String::new()
                    } else {
                        format!(", {templates} templates")
                    };
                    let file = file.display();
                    say(&format!("{file}: fine,{part} {nodes} nodes, {links} links{templates}\n"));
                }
                Err(mistakes) => {
                    match self.json {
                        true => say(&as_json(file, false, &mistakes)),
                        false => complain(&mistakes, false),
                    }
                    code = WRONG;
                }
            }
        }
        code
    }
}

/// A line for one file.
fn as_json(file: &Path, ok: bool, problems: &Diagnostics) -> String {
    format!("{}\n", json!({ "file": file.display().to_string(), "ok": ok, "problems": problems }))
}

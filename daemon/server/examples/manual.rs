//! Writes the manual pages and the shell completions of both programs, made from their command lines, into a
//! directory: `man8/…`, `completions/{bash,zsh,fish}/…`. For the Debian package and the image.
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use godwit_server::{cli::Cli, ctl::args::Ctl};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> io::Result<()> {
    let out = env::args_os().nth(1).map(PathBuf::from);
    let out = out.ok_or_else(|| io::Error::other("usage: manual DIRECTORY"))?;
    fs::create_dir_all(out.join("man8"))?;
    for mut command in [Cli::command(), Ctl::command()] {
        complete(&mut command.clone(), &out)?;
        // `help` needs no page; building gives each subcommand the options of all.
        command = without_help(command);
        command.build();
        pages(&command, command.get_name().to_owned().leak(), &out.join("man8"))?;
    }
    Ok(())
}

fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

fn complete(command: &mut Command, out: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, directory) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let directory = out.join("completions").join(directory);
        fs::create_dir_all(&directory)?;
        generate_to(shell, command, &name, directory)?;
    }
    Ok(())
}

/// A page for the command and one for each of its subcommands that is not hidden. (Names leak: clap wants
/// them to live for ever, and this program ends soon.)
fn pages(command: &Command, name: &'static str, out: &Path) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        pages(sub, format!("{name}-{}", sub.get_name()).leak(), out)?;
    }
    let mut page = Vec::new();
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone().name(name)).section("8").title(name.to_uppercase());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    sections(&after, &mut page)?;
    fs::write(out.join(format!("{name}.8")), page)
}

/// What stands below the options in `--help`: each line in capitals begins a section; lines stay as they are.
fn sections(text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let heading = |line: &str| !line.is_empty() && line.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
    for block in text.split("\n\n") {
        for line in block.lines() {
            if heading(line) {
                writeln!(page, ".SH \"{line}\"")?;
            } else if line.starts_with(' ') {
                writeln!(page, ".nf\n{}\n.fi", escaped(line))?;
            } else {
                writeln!(page, "{}", escaped(line))?;
            }
        }
        writeln!(page, ".PP")?;
    }
    Ok(())
}

/// As roff wants it: backslashes and dashes, and no line that begins like a request.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

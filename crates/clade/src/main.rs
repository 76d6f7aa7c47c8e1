//! The `clade` command: runs, freezes, branches and moves virtual machines.

mod arch;
mod choice;
mod disk_option;
mod engine_option;
mod errand;
mod failure;
mod firmware;
mod first_boot;
mod kvm_verdict;
mod network_options;
mod oci;
mod progress;
mod remote;
mod root_disk;
mod session;
mod settle;
mod several;
mod size;
mod snapshots;
mod state;
mod stats;
mod stdin;
mod style;
mod table;
mod terminal;
mod transfer;
mod tree;
mod verbs;
mod volume;
mod waiting;
mod warm;

use std::process::ExitCode;

use clade_vmm::outcome::CLADE_FAILED;
use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Runs virtual machines on any Linux host, with or without KVM, without root.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Box<verbs::run::Run>),
    Ps(verbs::ps::Ps),
    Start(verbs::start::Start),
    Stop(verbs::stop::Stop),
    Restart(verbs::restart::Restart),
    Kill(verbs::kill::Kill),
    Pause(verbs::pause::Pause),
    Suspend(verbs::suspend::Suspend),
    Resume(verbs::resume::Resume),
    Snapshot(verbs::snapshot::Snapshot),
    Restore(verbs::restore::Restore),
    Clone(verbs::clone::Clone),
    Template(verbs::template::Template),
    Tree(verbs::tree::Tree),
    Verify(verbs::verify::Verify),
    Rm(verbs::rm::Rm),
    Rename(verbs::rename::Rename),
    Update(verbs::update::Update),
    Console(verbs::console::Console),
    Logs(verbs::logs::Logs),
    Inspect(verbs::inspect::Inspect),
    Wait(verbs::wait::Wait),
    Exec(verbs::exec::Exec),
    Cp(verbs::cp::Cp),
    SshConfig(verbs::ssh_config::SshConfig),
    #[command(name = verbs::ssh_proxy::NAME, hide = true)]
    SshProxy(verbs::ssh_proxy::SshProxy),
    Images(verbs::images::Images),
    Pull(verbs::pull::Pull),
    Rmi(verbs::rmi::Rmi),
    Doctor(verbs::doctor::Doctor),
    Completions(verbs::completions::Completions),
    Man(verbs::man::Man),
    #[command(name = verbs::machine_process::NAME, hide = true)]
    MachineProcess(verbs::machine_process::MachineProcess),
    #[command(name = verbs::settle_guests::NAME, hide = true)]
    SettleGuests(verbs::settle_guests::SettleGuests),
    #[command(name = verbs::warm_image::NAME, hide = true)]
    WarmImage(verbs::warm_image::WarmImage),
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => return show_usage(&error),
    };
    let done = match command.verb {
        Verb::Run(run) => run.run(),
        Verb::Ps(ps) => ps.run(),
        Verb::Start(start) => start.run(),
        Verb::Stop(stop) => stop.run(),
        Verb::Restart(restart) => restart.run(),
        Verb::Kill(kill) => kill.run(),
        Verb::Pause(pause) => pause.run(),
        Verb::Suspend(suspend) => suspend.run(),
        Verb::Resume(resume) => resume.run(),
        Verb::Snapshot(snapshot) => snapshot.run(),
        Verb::Restore(restore) => restore.run(),
        Verb::Clone(clone) => clone.run(),
        Verb::Template(template) => template.run(),
        Verb::Tree(tree) => tree.run(),
        Verb::Verify(verify) => verify.run(),
        Verb::Rm(rm) => rm.run(),
        Verb::Rename(rename) => rename.run(),
        Verb::Update(update) => update.run(),
        Verb::Console(console) => console.run(),
        Verb::Logs(logs) => logs.run(),
        Verb::Inspect(inspect) => inspect.run(),
        Verb::Wait(wait) => wait.run(),
        Verb::Exec(exec) => exec.run(),
        Verb::Cp(cp) => cp.run(),
        Verb::SshConfig(config) => config.run(),
        Verb::SshProxy(proxy) => proxy.run(),
        Verb::Images(images) => images.run(),
        Verb::Pull(pull) => pull.run(),
        Verb::Rmi(rmi) => rmi.run(),
        Verb::Doctor(doctor) => doctor.run(),
        Verb::Completions(completions) => completions.run(),
        Verb::Man(man) => man.run(),
        Verb::MachineProcess(process) => Ok(process.run()),
        Verb::SettleGuests(guests) => Ok(guests.run()),
        Verb::WarmImage(image) => image.run(),
    };
    done.unwrap_or_else(Failure::show)
}

/// Help and version are data; a wrong command line is Clade's failure, not the guest's.
fn show_usage(error: &clap::Error) -> ExitCode {
    // Nobody reads: nothing to be done about it.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(CLADE_FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

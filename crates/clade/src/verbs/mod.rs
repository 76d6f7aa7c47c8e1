//! The verbs, one in each file.

pub(crate) mod completions;
pub(crate) mod console;
pub(crate) mod cp;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod machine_process;
pub(crate) mod man;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod resume;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod ssh_config;
pub(crate) mod ssh_proxy;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod update;
pub(crate) mod wait;

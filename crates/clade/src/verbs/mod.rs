//! The verbs, one in each file.

pub(crate) mod console;
pub(crate) mod doctor;
pub(crate) mod images;
pub(crate) mod logs;
pub(crate) mod machine_process;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod run;
pub(crate) mod stop;

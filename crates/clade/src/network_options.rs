//! What `--network` and its kin say.

use clade_net::{Forward, Host};
use clade_vmm::spec::{NetworkSpec, OutsideSpec, SwitchName};

use crate::failure::Failure;

/// The network of a machine that is made.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkOptions {
    /// What the machine's network card is connected to: `user`, a network of its own with the
    /// world behind it, by way of this user's sockets; `none`; `tap:INTERFACE`; or any other name,
    /// which machines share that shall see each other.
    #[arg(long, value_name = "NETWORK", default_value = "user")]
    network: String,
    /// Let a port of the host lead to one of the guest: `[ADDRESS:]HOST:GUEST[/udp]`. Open on
    /// 127.0.0.1 if no ADDRESS is given, 0.0.0.0 is all; HOST 0 is any port that is free.
    #[arg(long, short, value_name = "PORTS")]
    publish: Vec<Forward>,
    /// Let the guest reach this host and no others but those so named: an address, a network
    /// (10.0.0.0/8), or a name with all below it. 10.0.2.2 is the host itself.
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<Host>,
    /// Keep the guest from reaching this host. A name that is denied does not exist for the guest;
    /// its address, if the guest knows it, has to be denied by itself.
    #[arg(long, value_name = "HOST")]
    deny_host: Vec<Host>,
}

impl NetworkOptions {
    /// Whether the host's ports are known only when they are open.
    pub(crate) fn wants_any_port(&self) -> bool {
        self.publish.iter().any(|forward| forward.host == 0)
    }

    /// Whether the card's other end is the usual one.
    pub(crate) fn is_default(&self) -> bool {
        self.network == "user"
    }

    /// What goes out of, and into, the network of a machine that has one already.
    pub(crate) fn outside(self) -> OutsideSpec {
        OutsideSpec {
            forwards: self.publish,
            allow: self.allow_host,
            deny: self.deny_host,
        }
    }

    pub(crate) fn spec(self) -> Result<NetworkSpec, Failure> {
        let network = self.network.clone();
        let outside = self.outside();
        match network.as_str() {
            "user" => Ok(NetworkSpec::User(outside)),
            "none" if outside == OutsideSpec::default() => Ok(NetworkSpec::None),
            "none" => Err(Failure::new(
                "a machine with `--network none` has no ports and reaches no hosts; \
                 leave out --publish, --allow-host and --deny-host",
            )),
            other => match other.strip_prefix("tap:") {
                None => {
                    let name = other.parse::<SwitchName>();
                    let name = name.map_err(|error| Failure::new(error.to_string()))?;
                    Ok(NetworkSpec::Switch(name, outside))
                }
                Some(interface) if outside == OutsideSpec::default() => {
                    Ok(NetworkSpec::Tap(interface.to_owned()))
                }
                Some(_) => Err(Failure::new(
                    "what goes through a tap interface is the host's business; \
                     leave out --publish, --allow-host and --deny-host",
                )),
            },
        }
    }
}

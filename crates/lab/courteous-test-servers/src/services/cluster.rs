use std::path::Path;

use super::{Redis, port::Port, tls::Tls, wait_for};

/// A Redis Cluster of three primaries without replicas, each with a third of the slots. The cluster
/// is stopped when it is dropped.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
    /// The ports of the cluster bus, on which the nodes talk to each other.
    _buses: Vec<Port>,
}

/// How far a node's bus port is above its own port.
const BUS: u16 = 10_000;

impl RedisCluster {
    /// Starts a cluster, and waits until all its nodes know all slots. Returns `None` in the same
    /// case as [`Redis::start`].
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = Redis::program()?;
        Some(Self::of(|port, options| {
            Redis::start_at(program.clone(), port, options)
        }))
    }

    /// Starts a cluster that uses TLS, also between its nodes, with the `certificates` of
    /// [`Redis::secure`].
    #[must_use]
    pub fn secure(certificates: &Path) -> Option<Self> {
        let program = Redis::program_with_tls()?;
        Some(Self::of(|port, options| {
            let tls = Tls::new(port, certificates);
            let port = Port::free().expect("a free port");
            let options = [options, &["--tls-cluster", "yes"]].concat();
            Redis::secure_at(program.clone(), port, tls, &options)
        }))
    }

    /// Starts the nodes, each with `start` on the port that the others know.
    fn of(start: impl Fn(Port, &[&str]) -> Redis) -> Self {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..3 {
            let (port, bus) = Port::pair(BUS).expect("two free ports");
            let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            nodes.push(start(port, &options));
            buses.push(bus);
        }
        let cluster = Self {
            nodes,
            _buses: buses,
        };
        cluster.join();
        cluster
    }

    /// The URLs of all nodes, with `rediss://` if the cluster is [secure](Self::secure).
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let url = |node: &Redis| match node.tls_address() {
            Some(address) => format!("rediss://{address}"),
            None => node.url(),
        };
        self.nodes.iter().map(url).collect()
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The nodes, for a test that kills and restarts them.
    pub fn nodes_mut(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    fn join(&self) {
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        let commanded = |node: &Redis, words: &[&str]| {
            node.command(words).expect("a command for a cluster");
        };
        for (number, (node, (first, last))) in self.nodes.iter().zip(slots).enumerate() {
            let epoch = (number + 1).to_string();
            commanded(node, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            commanded(node, &["CLUSTER", "ADDSLOTSRANGE", first, last]);
            let known = node.tls_address().unwrap_or(node.address());
            let port = known.port().to_string();
            commanded(&self.nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &port]);
        }
        let complete = |node: &Redis| {
            let info = node.command(&["CLUSTER", "INFO"]).unwrap_or_default();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        wait_for(|| self.nodes.iter().all(complete).then_some(())).expect("a complete cluster");
    }
}

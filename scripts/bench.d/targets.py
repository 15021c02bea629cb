"""What is measured: a direct connection and the proxies in front of the same servers."""

import os
import shutil
import signal
import subprocess

import machine
import wire
from postgres import DATABASE, USER


class Direct:
    """No proxy: the primary itself."""

    name = "direct"
    note = "no proxy"

    def __init__(self, cluster):
        self.port = cluster.primary.port
        self.folder = cluster.primary.data
        self.pid = None

    def host(self, work):
        """Where a workload finds it: an address, or the folder of its Unix socket."""
        return str(self.folder) if work.unix else "127.0.0.1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Proxy:
    """A proxy is a child process that listens on a port of its own."""

    name = note = None
    stop_signal = signal.SIGTERM

    def __init__(self, folder):
        self.folder = folder
        self.port = machine.free_port()
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def host(self, work):
        """As `Direct.host`."""
        return str(self.folder) if work.unix else "127.0.0.1"

    def command(self):
        """The command line; writes the configuration that it names."""
        raise NotImplementedError

    def __enter__(self):
        log_path = self.folder / f"{self.name.replace(' ', '-')}.log"
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log,
                                            **machine.server_user())
        try:
            wire.wait_until_it_answers(self.process, self.port, USER, DATABASE)
        except BaseException as error:
            self.__exit__()
            raise RuntimeError(f"{self.name} did not start: {error}\n{log_path.read_text()[-2000:]}") from error
        return self

    def __exit__(self, *_):
        machine.stop(self.process, self.stop_signal)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)


class PgBouncer(Proxy):
    """In transaction mode, or in session mode with a pool as large as the number of clients.

    `to_replicas`: not to the primary but to the replicas in turn, as one sets it up by hand for what only reads.
    """

    def __init__(self, folder, cluster, work, mode, pool, to_replicas=False):
        super().__init__(folder)
        self.work = work
        self.name = "PgBouncer" if mode == "transaction" else "PgBouncer, session mode"
        self.nodes = cluster.replicas if to_replicas else [cluster.primary]
        where = f"{len(self.nodes)} replicas" if to_replicas else "the primary"
        self.note = f"{mode} mode, pool of {pool} to {where}"
        self.mode, self.pool = mode, pool

    def command(self):
        hosts = ",".join(server_host(node, self.work) for node in self.nodes)
        tls = ""
        if self.work.tls:
            crt, key = machine.certificate(self.folder)
            tls = f"client_tls_sslmode = allow\nclient_tls_cert_file = {crt}\nclient_tls_key_file = {key}\n"
        users = self.write(f"pgbouncer-{self.port}.txt", f'"{USER}" ""\n')
        ini = self.write(f"pgbouncer-{self.port}.ini", f"""\
[databases]
{DATABASE} = host={hosts} port={self.nodes[0].port} dbname={DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir = {self.folder if self.work.unix else ""}
auth_type = trust
auth_file = {users}
pool_mode = {self.mode}
default_pool_size = {self.pool}
max_client_conn = 12000
log_connections = 0
log_disconnections = 0
{tls}""")
        return [pgbouncer_binary(), ini]


class HaProxy(Proxy):
    """Plain TCP forwarding to the primary: what a proxy costs that doesn't look."""

    name = "HAProxy"
    note = "plain TCP, no pool"

    def __init__(self, folder, cluster):
        super().__init__(folder)
        self.cluster = cluster

    def command(self):
        config = self.write("haproxy.cfg", f"""\
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend postgres
    bind 127.0.0.1:{self.port}
    default_backend primary
backend primary
    server primary 127.0.0.1:{self.cluster.primary.port}
""")
        return [haproxy_binary(), "-db", "-f", config]


class PgpoolII(Proxy):
    """A process for each client, each with a connection to every server of its own; reads go to the replicas in turn."""

    name = "Pgpool-II"
    stop_signal = signal.SIGINT  # on SIGTERM it waits for its clients

    def __init__(self, folder, cluster, work, clients):
        super().__init__(folder)
        self.work, self.cluster, self.children = work, cluster, clients + 5
        self.note = f"split on, a process and {1 + len(cluster.replicas)} server connections for each client"

    def command(self):
        nodes = "".join(f"""\
backend_hostname{i} = '{server_host(node, self.work)}'
backend_port{i} = {node.port}
backend_weight{i} = {0 if node is self.cluster.primary else 1}
backend_data_directory{i} = '{node.data}'
backend_flag{i} = 'DISALLOW_TO_FAILOVER'
""" for i, node in enumerate([self.cluster.primary, *self.cluster.replicas]))
        tls = ""
        if self.work.tls:
            crt, key = machine.certificate(self.folder)
            tls = f"ssl = on\nssl_cert = '{crt}'\nssl_key = '{key}'\n"
        config = self.write(f"pgpool-{self.port}.conf", f"""\
backend_clustering_mode = 'streaming_replication'
listen_addresses = '127.0.0.1'
port = {self.port}
socket_dir = '{self.folder}'
pcp_listen_addresses = ''
pcp_port = {machine.free_port()}
pcp_socket_dir = '{self.folder}'
pid_file_name = '{self.folder}/pgpool-{self.port}.pid'
logdir = '{self.folder}'
num_init_children = {self.children}
max_pool = 1
child_life_time = 0
load_balance_mode = on
sr_check_user = '{USER}'
sr_check_database = '{DATABASE}'
{nodes}{tls}""")
        return [pgpool_binary(), "-n", "-D", "-f", config, "-F", self.write("pcp.conf", ""), "-a", self.write("pool_hba.conf", "")]


class Pgweir(Proxy):
    """Transaction mode with the read/write split on, over the primary and its replicas.

    `pool`: server connections to each node. Reads go to the replicas alone, so they share as many times that.
    """

    def __init__(self, folder, cluster, work, pool, binary, name="pgweir"):
        super().__init__(folder)
        self.work = work
        self.name = name
        self.note = f"transaction mode, split on, {pool} server connections to each of {len(cluster.replicas)} replicas"
        self.cluster, self.pool, self.binary = cluster, pool, binary

    def command(self):
        tls = ""
        if self.work.tls:
            crt, key = machine.certificate(self.folder)
            tls = f"  tls: {{mode: allow, certificate: {crt}, key: {key}}}\n"
        nodes = "".join(f"      {node.name}: {{host: {server_host(node, self.work)}, port: {node.port}}}\n"
                        for node in [self.cluster.primary, *self.cluster.replicas])
        config = self.write(f"pgweir-{self.port}.yaml", f"""\
listen:
  tcp: ["127.0.0.1:{self.port}"]
  unix_dir: {self.folder if self.work.unix else "null"}
  http: null
{tls}auth: {{method: trust}}
users:
  {USER}: {{password: unused}}
limits: {{max_client_conn: 12000}}
pool: {{mode: transaction, size: {self.pool}}}
clusters:
  local:
    control: {{user: {USER}, password: unused}}
    tls: {{mode: disable}}
    server_connections: {self.pool}
    nodes:
{nodes}databases:
  {DATABASE}: {{cluster: local, dbname: {DATABASE}}}
""")
        return [str(self.binary), "run", "-c", config]


def server_host(node, work):
    """Where a proxy finds a server: an address, or the folder of its Unix socket."""
    return str(node.data) if work.unix else node.host


def pgbouncer_binary():
    """Debian keeps it in /usr/sbin, which an ordinary user's PATH lacks."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


def haproxy_binary():
    """As `pgbouncer_binary`."""
    return shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")


def pgpool_binary():
    """As `pgbouncer_binary`."""
    return shutil.which("pgpool", path=f"{os.environ['PATH']}:/usr/sbin")

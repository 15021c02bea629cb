"""pgweir between the suite and its server."""

import collections
import os
import re
import shutil
import subprocess
import urllib.request

import machine
import targets
import wire
from suite import DATABASE, USER


def build(root, target, say):
    """The path of a debug build of this tree."""
    say("building pgweir")
    subprocess.run(["cargo", "build", "--bin", "pgweir"], cwd=root, check=True)
    return target / "debug" / "pgweir"


class Pgweir(targets.Proxy):
    """The read/write split is off: every statement goes to the one server."""

    name = "pgweir"

    def __init__(self, folder, cluster, options, built):
        super().__init__(folder)
        self.cluster, self.options = cluster, options
        # A copy: the user that runs servers may not be allowed to look into our folders.
        self.binary = shutil.copy(built, folder / "pgweir")
        self.http = machine.free_port()

    def command(self):
        config = self.write("pgweir.yaml", f"""\
listen:
  tcp: ["127.0.0.1:{self.port}"]
  unix_dir: null
  http: "127.0.0.1:{self.http}"
auth: {{method: trust}}
users:
  {USER}: {{password: unused}}
admin: {{users: [{USER}]}}
pool: {{mode: {self.options.mode}, size: {self.options.pool}, pinned: {self.options.pinned}, server_round_robin: true}}
route: {{role: primary}}
clusters:
  local:
    control: {{user: {USER}, password: unused}}
    tls: {{mode: disable}}
    server_connections: {self.options.pool}
    nodes:
      server: {{host: 127.0.0.1, port: {self.cluster.port}, role: primary}}
databases:
  {DATABASE}: {{cluster: local, dbname: {DATABASE}}}
""")
        return [str(self.binary), "run", "-c", config]

    def __enter__(self):
        # `wait_until_it_answers` logs in as the benchmark's user.
        log_path = self.folder / "pgweir.log"
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log,
                                            env=os.environ | {"RUST_BACKTRACE": "1"}, **machine.server_user())
        try:
            wire.wait_until_it_answers(self.process, self.port, USER, DATABASE)
        except BaseException as error:
            self.__exit__()
            raise RuntimeError(f"pgweir did not start: {error}\n{log_path.read_text()[-2000:]}") from error
        return self

    def pins(self):
        """How many transactions ran pinned until now: a Counter by reason."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = collections.Counter()
        for reason, count in re.findall(r'^pgweir_pinned_transactions_total\{.*?reason="(\w+)".*\} (\S+)$', text, re.M):
            found[reason] += int(float(count))
        return found

# ruff: noqa
"""A tiny in-memory stand-in for a W&B server, for tests.  Standard library only.

Speaks just enough of the GraphQL + filestream + file-transfer protocol for an unmodified
``wandb`` (written against 0.31.0) to finish online runs and ``wandb sync`` with exit code 0,
and for ``wandb.Api().runs()/run()/history()/scan_history()/files()`` to read them back.

    with WandbStub() as srv:            # 127.0.0.1, free port
        env = srv.env()                 # WANDB_BASE_URL, WANDB_API_KEY, isolated dirs ...
        ...
        run = srv.run("kdlab", "abc123")
        run.config, run.summary, run.history, run.files, run.tags, run.group ...
    assert not srv.unknown              # every GraphQL operation was one we model

Faults:  srv.fault = lambda kind, name: None | int (HTTP status) | "drop" | float (sleep s)
"""

from __future__ import annotations

import base64, collections, dataclasses, datetime, gzip, hashlib, json, re, socket, threading, time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENTITY = "stub-team"
API_KEY = "0" * 40
_OP = re.compile(r"\b(query|mutation|subscription)\s+(\w+)")


def _b64(s: str) -> str:
    return base64.b64encode(s.encode()).decode()


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclasses.dataclass
class RunRec:
    entity: str
    project: str
    name: str  # the run id in URLs
    display_name: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list = dataclasses.field(default_factory=list)
    notes: str | None = None
    host: str | None = None
    sweep: str | None = None
    state: str = "running"
    exit_code: int | None = None
    completed: bool = False
    raw_config: dict = dataclasses.field(default_factory=dict)
    lines: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(dict))
    uploaded: set = dataclasses.field(default_factory=set)
    files: dict = dataclasses.field(default_factory=dict)  # path -> bytes
    created: str = dataclasses.field(default_factory=_now)
    heartbeat: str = dataclasses.field(default_factory=_now)
    upserts: int = 0
    filestream_posts: int = 0

    @property
    def id(self) -> str:
        return _b64(f"Run:v1:{self.name}:{self.project}:{self.entity}")

    @property
    def config(self) -> dict:
        return {
            k: v["value"] if isinstance(v, dict) and "value" in v else v
            for k, v in self.raw_config.items()
            if k != "_wandb"
        }

    @property
    def history(self) -> list[dict]:
        h = self.lines["wandb-history.jsonl"]
        return [json.loads(h[k]) for k in sorted(h)]

    @property
    def events(self) -> list[dict]:
        h = self.lines["wandb-events.jsonl"]
        return [json.loads(h[k]) for k in sorted(h)]

    @property
    def summary(self) -> dict:
        h = self.lines["wandb-summary.json"]
        return json.loads(h[max(h)]) if h else {}

    @property
    def output(self) -> list[str]:
        h = self.lines["output.log"]
        return [h[k] for k in sorted(h)]

    def history_keys(self) -> dict:
        keys: dict[str, dict] = {}
        last = -1
        for row in self.history:
            last = max(last, row.get("_step", -1))
            for k, v in row.items():
                e = keys.setdefault(k, {"typeCounts": [{"type": "number", "count": 0}], "monotonic": False})
                e["typeCounts"][0]["count"] += 1
        return {"sets": [], "keys": keys, "lastStep": last}


@dataclasses.dataclass
class ArtifactRec:
    id: str
    spec: dict
    state: str = "PENDING"
    files: dict = dataclasses.field(default_factory=dict)
    manifest: dict | None = None
    version: int = 0


class WandbStub:
    def __init__(self, port: int = 0, entity: str = ENTITY, verbose: bool = False):
        self.entity, self.verbose = entity, verbose
        self.lock = threading.RLock()
        self.runs: dict[tuple[str, str, str], RunRec] = {}
        self.artifacts: dict[str, ArtifactRec] = {}
        self.client_ids: dict[str, str] = {}
        self.views: dict[str, dict] = {}
        self.sweeps: dict[str, dict] = {}
        self.ops: collections.Counter = collections.Counter()
        self.paths: collections.Counter = collections.Counter()
        self.unknown: list[tuple[str, str]] = []
        self.log: list[tuple[float, str, str]] = []
        self.fault = None
        self._port = port
        self._srv = None

    # ---- lifecycle
    def start(self) -> "WandbStub":
        stub = self

        class H(_Handler):
            owner = stub

        self._srv = _Server(("127.0.0.1", self._port), H)
        self._port = self._srv.server_address[1]
        threading.Thread(target=self._srv.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        if self._srv:
            self._srv.shutdown()
            self._srv.kill_connections()
            self._srv.server_close()
            self._srv = None

    __enter__ = start

    def __exit__(self, *a):
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def env(self, home: str | None = None) -> dict[str, str]:
        e = {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": API_KEY,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_MODE": "online",
        }
        if home:
            e |= {
                "WANDB_CONFIG_DIR": f"{home}/cfg",
                "WANDB_CACHE_DIR": f"{home}/cache",
                "WANDB_DATA_DIR": f"{home}/data",
                "NETRC": f"{home}/netrc",
            }
        return e

    def run(self, project: str, name: str) -> RunRec:
        return self.runs[(self.entity, project, name)]

    # ---- GraphQL
    def graphql(self, body: dict):
        q, v = body.get("query", ""), body.get("variables") or {}
        m = _OP.search(q)
        op = body.get("operationName") or (m.group(2) if m else "?")
        if m and op != m.group(2):
            op = m.group(2)
        with self.lock:
            self.ops[op] += 1
            fn = getattr(self, "q_" + op, None)
            if fn is None:
                self.unknown.append((op, q))
                return {"data": None, "errors": [{"message": f"stub: unknown operation {op}"}]}
            return {"data": fn(v, q)}

    def q_Viewer(self, v, q):
        return {
            "viewer": {
                "id": _b64("User:1"),
                "entity": self.entity,
                "username": "stub",
                "email": "stub@example.invalid",
                "flags": "{}",
                "teams": {"edges": [{"node": {"name": self.entity}}]},
            }
        }

    def q_GetViewer(self, v, q):
        u = self.q_Viewer(v, q)["viewer"]
        return {"viewer": {**u, "name": "stub", "admin": False, "deletedAt": None, "apiKeys": {"edges": []}}}

    def q_GetDefaultEntity(self, v, q):
        return {"viewer": {"id": _b64("User:1"), "entity": self.entity}}

    def q_OrganizationCoreWeaveOrganizationID(self, v, q):
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def q_ServerFeaturesQuery(self, v, q):
        return {"serverInfo": {"features": []}}

    def q_XXHashDigestsEnabled(self, v, q):
        return {"entity": {"xxhashDigestsEnabled": False}}

    def q_OrgFeatureFlags(self, v, q):
        return {"organization": {"featureFlags": []}}

    def q_FetchOrgEntityFromEntity(self, v, q):
        return {"entity": {"organization": {"name": "stub-org", "orgEntity": {"name": "stub-org"}}}}

    def _key(self, v):
        return (
            v.get("entity") or self.entity,
            v.get("project") or "uncategorized",
            v.get("name") or v.get("run") or v.get("runName"),
        )

    def q_RunResumeStatus(self, v, q):
        ent, proj, name = self._key(v)
        r = self.runs.get((ent, proj, name))
        b = None
        if r:

            def tail(f):
                ls = r.lines[f]
                return json.dumps([ls[max(ls)]] if ls else [])

            b = {
                "id": r.id,
                "name": r.name,
                "summaryMetrics": json.dumps(r.summary),
                "displayName": r.display_name,
                "logLineCount": len(r.lines["output.log"]),
                "historyLineCount": len(r.lines["wandb-history.jsonl"]),
                "eventsLineCount": len(r.lines["wandb-events.jsonl"]),
                "historyTail": tail("wandb-history.jsonl"),
                "eventsTail": tail("wandb-events.jsonl"),
                "config": json.dumps(r.raw_config),
                "tags": r.tags,
                "notes": r.notes,
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {
            "model": {
                "id": _b64(f"Project:{proj}"),
                "name": proj,
                "entity": {"id": _b64(ent), "name": ent},
                "bucket": b,
            }
        }

    def q_UpsertBucket(self, v, q):
        r, inserted = None, False
        if v.get("id"):
            r = next((x for x in self.runs.values() if x.id == v["id"]), None)
        if r is None:
            key = self._key(v)
            r = self.runs.get(key)
            if r is None:
                inserted = True
                r = self.runs[key] = RunRec(*key)
        r.upserts += 1
        for src, dst in (
            ("displayName", "display_name"),
            ("display_name", "display_name"),
            ("groupName", "group"),
            ("jobType", "job_type"),
            ("notes", "notes"),
            ("host", "host"),
            ("sweep", "sweep"),
            ("state", "state"),
            ("tags", "tags"),
        ):
            if v.get(src) is not None:
                setattr(r, dst, v[src])
        if v.get("config") is not None:
            r.raw_config = json.loads(v["config"])
        if v.get("summaryMetrics") is not None:
            ls = r.lines["wandb-summary.json"]
            ls[max(ls, default=0)] = v["summaryMetrics"]
        r.display_name = r.display_name or r.name
        return {"upsertBucket": {"bucket": self._bucket(r), "inserted": inserted}}

    def _bucket(self, r):
        return {
            "id": r.id,
            "name": r.name,
            "displayName": r.display_name,
            "description": r.notes,
            "config": json.dumps(r.raw_config),
            "sweepName": r.sweep,
            "historyLineCount": len(r.lines["wandb-history.jsonl"]),
            "project": {"id": _b64(r.project), "name": r.project, "entity": {"id": _b64(r.entity), "name": r.entity}},
        }

    def q_CreateRunFiles(self, v, q):
        key = self._key(v)
        return {
            "createRunFiles": {
                "runID": self.runs[key].id,
                "uploadHeaders": [],
                "files": [
                    {
                        "name": f,
                        "uploadUrl": f"{self.url}/stub/run/{urllib.parse.quote('/'.join(key))}?f={urllib.parse.quote(f, safe='')}",
                    }
                    for f in v["files"]
                ],
            }
        }

    def q_MarkRunFilesUploaded(self, v, q):
        self.runs[self._key(v)].uploaded |= set(v["files"])
        return {"markRunFilesUploaded": {"success": True}}

    def q_RunState(self, v, q):
        r = self.runs.get(self._key(v))
        return {"project": {"run": r and {"id": r.id, "state": r.state}}}

    # ---- artifacts (tables, logged artifacts)
    def q_ArtifactType(self, v, q):
        return {"project": {"artifact": None}}

    def q_FetchArtifactDigestAlgorithm(self, v, q):
        return {"project": None}

    def q_CreateArtifact(self, v, q):
        i = v["input"]
        cid = i.get("clientID") or str(len(self.artifacts))
        seq = [
            a
            for a in self.artifacts.values()
            if a.spec["artifactCollectionName"] == i["artifactCollectionName"]
            and a.spec["projectName"] == i["projectName"]
            and a.state == "COMMITTED"
        ]
        same = next((a for a in seq if a.spec["digest"] == i["digest"]), None)
        if same:
            a = same
        else:
            a = ArtifactRec(_b64(f"Artifact:{len(self.artifacts)}"), i, version=len(seq))
            self.artifacts[a.id] = a
        self.client_ids[cid] = a.id
        latest = max(seq, key=lambda x: x.version, default=None)
        return {
            "createArtifact": {
                "artifact": {
                    "id": a.id,
                    "state": a.state,
                    "artifactSequence": {
                        "id": _b64("seq"),
                        "latestArtifact": latest and {"id": latest.id, "versionIndex": latest.version},
                    },
                }
            }
        }

    def _manifest(self, aid, upload):
        f = {"id": _b64("mf:" + aid)}
        if upload:
            f |= {
                "uploadUrl": f"{self.url}/stub/art/{urllib.parse.quote(aid, safe='')}?manifest=1",
                "uploadHeaders": [],
            }
        return {"id": _b64("manifest:" + aid), "file": f}

    def q_CreateArtifactManifest(self, v, q):
        return {
            "createArtifactManifest": {
                "artifactManifest": self._manifest(v["artifactID"], v.get("includeUpload", True))
            }
        }

    def q_UpdateArtifactManifest(self, v, q):
        aid = base64.b64decode(v["artifactManifestID"]).decode().split(":", 1)[1]
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(aid, v.get("includeUpload", True))}}

    def q_CreateArtifactFiles(self, v, q):
        edges = []
        for s in v["input"]["artifactFiles"]:
            u = f"{self.url}/stub/art/{urllib.parse.quote(s['artifactID'], safe='')}?f={urllib.parse.quote(s['name'], safe='')}"
            edges.append(
                {
                    "node": {
                        "id": _b64(s["name"]),
                        "name": s["name"],
                        "displayName": s["name"],
                        "storagePath": "stub/" + s["name"],
                        "uploadUrl": u,
                        "uploadHeaders": [],
                        "uploadMultipartUrls": None,
                        "artifact": {"id": s["artifactID"]},
                    }
                }
            )
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def q_CommitArtifact(self, v, q):
        a = self.artifacts[v["artifactID"]]
        a.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": a.id, "digest": a.spec["digest"]}}}

    def q_UseArtifact(self, v, q):
        return {"useArtifact": {"artifact": {"id": v["input"]["artifactID"]}}}

    def q_ClientIDMapping(self, v, q):
        s = self.client_ids.get(v["clientID"])
        return {"clientIDMapping": s and {"serverID": s}}

    # ---- public Api
    def _run_node(self, r):
        return {
            "projectId": "1",
            "id": r.id,
            "tags": r.tags,
            "name": r.name,
            "displayName": r.display_name,
            "sweepName": r.sweep,
            "state": r.state,
            "config": json.dumps(r.raw_config),
            "group": r.group,
            "jobType": r.job_type,
            "commit": None,
            "readOnly": False,
            "createdAt": r.created,
            "heartbeatAt": r.heartbeat,
            "description": r.notes,
            "notes": r.notes,
            "systemMetrics": json.dumps(r.events[-1] if r.events else {}),
            "summaryMetrics": json.dumps(r.summary),
            "historyLineCount": len(r.lines["wandb-history.jsonl"]),
            "user": {"name": "stub", "username": "stub"},
            "historyKeys": r.history_keys(),
        }

    def q_Runs(self, v, q):
        flt = json.loads(v.get("filters") or "{}")
        rs = [r for r in self.runs.values() if r.entity == v["entity"] and r.project == v["project"] and _match(flt, r)]
        order = v.get("order") or "+created_at"
        rs.sort(key=lambda r: _sort_key(r, order.lstrip("+-")), reverse=order.startswith("-"))
        off, n = int(v.get("cursor") or 0), int(v.get("perPage") or 50)
        page = rs[off : off + n]
        return {
            "project": {
                "internalId": "1",
                "runCount": len(rs),
                "readOnly": False,
                "runs": {
                    "edges": [{"node": self._run_node(r), "cursor": str(off + i + 1)} for i, r in enumerate(page)],
                    "pageInfo": {"endCursor": str(off + len(page)), "hasNextPage": off + len(page) < len(rs)},
                },
            }
        }

    def q_Run(self, v, q):
        r = self.runs.get(self._key(v))
        return {"project": {"run": r and self._run_node(r)}}

    def q_RunHistoryKeys(self, v, q):
        return {"project": {"run": {"historyKeys": self.runs[self._key(v)].history_keys()}}}

    def q_RunFullHistory(self, v, q):
        r = self.runs[self._key(v)]
        node = "events" if re.search(r"\bevents\(", q) else "history"
        ls = r.lines["wandb-events.jsonl" if node == "events" else "wandb-history.jsonl"]
        return {"project": {"run": {node: [ls[k] for k in sorted(ls)]}}}

    def _sampled(self, r, spec):
        s = json.loads(spec)
        return [
            {k: row.get(k) for k in s["keys"]}
            for row in r.history
            if all(k in row for k in s["keys"]) and s.get("minStep", 0) <= row["_step"] <= s.get("maxStep", 1 << 60)
        ]

    def q_RunSampledHistory(self, v, q):
        r = self.runs[self._key(v)]
        return {"project": {"run": {"sampledHistory": [self._sampled(r, s) for s in v["specs"]]}}}

    def q_SampledHistoryPage(self, v, q):
        r = self.runs[self._key(v)]
        return {"project": {"run": {"sampledHistory": [self._sampled(r, v["spec"])]}}}

    def q_HistoryPage(self, v, q):
        r = self.runs[self._key(v)]
        return {
            "project": {
                "run": {"history": [json.dumps(x) for x in r.history if v["minStep"] <= x["_step"] < v["maxStep"]]}
            }
        }

    def q_RunParquetHistory(self, v, q):
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": [{"_step": 0}]}}}}

    def q_RunFiles(self, v, q):
        r = self.runs[self._key(v)]
        names = v.get("fileNames") or sorted(r.files)
        names = [n for n in names if n in r.files]
        return {
            "project": {
                "internalId": "1",
                "run": {
                    "fileCount": len(names),
                    "files": {
                        "edges": [
                            {
                                "cursor": str(i),
                                "node": {
                                    "id": _b64(n),
                                    "name": n,
                                    "sizeBytes": len(r.files[n]),
                                    "mimetype": "application/octet-stream",
                                    "updatedAt": _now(),
                                    "md5": base64.b64encode(hashlib.md5(r.files[n]).digest()).decode(),
                                    "url": self._dl(r, n),
                                    "directUrl": self._dl(r, n),
                                },
                            }
                            for i, n in enumerate(names)
                        ],
                        "pageInfo": {"endCursor": None, "hasNextPage": False},
                    },
                },
            }
        }

    def _dl(self, r, n):
        return f"{self.url}/stub/run/{urllib.parse.quote('/'.join((r.entity, r.project, r.name)))}?f={urllib.parse.quote(n, safe='')}"

    # ---- sweeps: a plain grid (both ends of a range), enough for `wandb sweep` + `wandb agent`
    def q_UpsertSweep(self, v, q):
        import yaml

        if v.get("id") and v["id"] in self.sweeps:
            sw = self.sweeps[v["id"]]
            sw["state"] = v.get("state") or sw["state"]
        else:
            name = f"sw{len(self.sweeps)}"
            cfg = yaml.safe_load(v["config"])
            grid = [{}]
            for k, p in cfg["parameters"].items():
                vals = p["values"] if "values" in p else [p["value"]] if "value" in p else [p["min"], p["max"]]
                grid = [{**g, k: {"value": x}} for g in grid for x in vals]
            sw = self.sweeps[_b64("Sweep:" + name)] = {
                "id": _b64("Sweep:" + name),
                "name": name,
                "config": v["config"],
                "state": v.get("state") or "RUNNING",
                "program": cfg.get("program"),
                "queue": grid,
                "project": v["projectName"],
                "entity": v["entityName"] or self.entity,
                "n": 0,
            }
        return {
            "upsertSweep": {
                "configValidationWarnings": [],
                "sweep": {
                    "name": sw["name"],
                    "project": {
                        "id": _b64("P"),
                        "name": sw["project"],
                        "entity": {"id": _b64("E"), "name": sw["entity"]},
                    },
                },
            }
        }

    def _sweep(self, name):
        return next((x for x in self.sweeps.values() if x["name"] == name), None)

    def _sweep_node(self, sw):
        runs = [r for r in self.runs.values() if r.sweep == sw["name"]]
        return {
            "__typename": "Sweep",
            "id": sw["id"],
            "name": sw["name"],
            "displayName": sw["name"],
            "method": "grid",
            "state": sw["state"],
            "description": None,
            "bestLoss": None,
            "config": sw["config"],
            "createdAt": _now(),
            "updatedAt": _now(),
            "heartbeatAt": _now(),
            "controller": None,
            "scheduler": None,
            "runCount": len(runs),
            "runCountExpected": None,
            "runs": {
                "edges": [
                    {
                        "node": {
                            **self._run_node(r),
                            "exitcode": r.exit_code,
                            "shouldStop": False,
                            "failed": False,
                            "stopped": False,
                            "running": r.state == "running",
                            "summaryMetrics": json.dumps(r.summary),
                            "sampledHistory": [],
                        }
                    }
                    for r in runs
                ]
            },
        }

    def _q_sweep(self, v, q):
        sw = self._sweep(v.get("sweep") or v.get("name") or v.get("sweepName"))
        return {"project": {"sweep": sw and self._sweep_node(sw)}}

    q_GetSweep = q_GetSweepLegacy = q_SweepWithRuns = q_GetSweepState = q_SweepConfig = _q_sweep

    def q_CreateAgent(self, v, q):
        aid = _b64("Agent:" + v["sweep"])
        return {"createAgent": {"agent": {"id": aid}}}

    def q_Heartbeat(self, v, q):
        sw = self._sweep(base64.b64decode(v["id"]).decode().split(":", 1)[1])
        busy = json.loads(v["runState"] or "{}")
        cmds = []
        if not busy:
            if sw["queue"]:
                args = sw["queue"].pop(0)
                sw["n"] += 1
                rid = f"{sw['name']}r{sw['n']}"
                key = (sw["entity"], sw["project"], rid)  # the real server makes an agent's run ahead of time, too
                self.runs[key] = RunRec(*key, state="pending", sweep=sw["name"])
                cmds = [{"type": "run", "run_id": rid, "program": sw["program"], "args": args}]
            else:
                sw["state"] = "FINISHED"
                cmds = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": v["id"]}, "commands": json.dumps(cmds)}}

    # ---- saved views and reports (wandb-workspaces)
    def q_upsertView(self, v, q):
        vid = v.get("id") or _b64(f"View:{len(self.views)}")
        inserted = vid not in self.views
        self.views[vid] = {
            **self.views.get(vid, {}),
            **{k: x for k, x in v.items() if x is not None and k != "id"},
            "id": vid,
        }
        w = self.views[vid]
        return {
            "upsertView": {
                "inserted": inserted,
                "view": {
                    "id": vid,
                    "type": w.get("type"),
                    "name": w.get("name"),
                    "displayName": w.get("displayName"),
                    "description": w.get("description"),
                    "spec": w.get("spec"),
                    "updatedAt": _now(),
                    "createdAt": _now(),
                    "project": {"id": _b64("Project"), "name": w.get("projectName"), "entityName": w.get("entityName")},
                },
            }
        }

    q_UpsertView2 = q_upsertView

    def q_View(self, v, q):
        ws = [
            w
            for w in self.views.values()
            if w.get("type") == v["viewType"] and (not v.get("viewName") or w.get("name") == v["viewName"])
        ]
        return {
            "project": {
                "allViews": {
                    "edges": [{"node": {"id": w["id"], "displayName": w["displayName"], "spec": w["spec"]}} for w in ws]
                }
            }
        }

    def q_ProjectViews(self, v, q):
        if not any(r.project == v["project"] and r.entity == v["entity"] for r in self.runs.values()):
            return {"project": None}
        ws = [
            {"cursor": w["id"], "node": {"createdAt": _now(), "updatedAt": _now(), "user": {"username": "stub"}, **w}}
            for w in self.views.values()
            if w.get("type") == (v.get("viewType") or "runs")
            and w.get("projectName") == v["project"]
            and (not v.get("viewName") or w.get("name") == v["viewName"])
        ]
        return {"project": {"allViews": {"edges": ws, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}

    def q_ProjectInternalId(self, v, q):
        return {"project": {"id": _b64("Project"), "internalId": "1"}}

    def q_GetProjects(self, v, q):
        names = sorted({r.project for r in self.runs.values()})
        return {
            "models": {
                "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False},
                "edges": [
                    {
                        "node": {
                            "__typename": "Project",
                            "id": _b64(n),
                            "name": n,
                            "entityName": v.get("entity"),
                            "createdAt": _now(),
                            "isBenchmark": False,
                            "user": None,
                        }
                    }
                    for n in names
                ],
            }
        }

    def q_GetProject(self, v, q):
        n = v.get("name")
        return {
            "project": {
                "__typename": "Project",
                "id": _b64(n),
                "name": n,
                "entityName": v.get("entity"),
                "createdAt": _now(),
                "isBenchmark": False,
                "user": None,
            }
        }

    def q_RunConsoleLogTail(self, v, q):
        return {"project": {"run": {"logLines": {"edges": []}}}}

    # ---- filestream
    def filestream(self, entity, project, name, body):
        with self.lock:
            r = self.runs.get((entity, project, name))
            if r is None:
                return 404, {"error": "run not found"}
            r.filestream_posts += 1
            r.heartbeat = _now()
            r.uploaded |= set(body.get("uploaded") or [])
            for fname, d in (body.get("files") or {}).items():
                for i, line in enumerate(d["content"]):
                    r.lines[fname][d["offset"] + i] = line
            if body.get("complete"):
                r.completed = True
            if body.get("exitcode") is not None:
                r.exit_code = body["exitcode"]
                r.state = "finished" if r.exit_code == 0 else "failed"
            return 200, {"exitcode": None, "limits": {}}


def _get(r: RunRec, key: str):
    if key.startswith("config."):
        cur = r.config
        path = key[len("config.") :].split(".")
        path = [p for p in path if p != "value"]
    elif key.startswith(("summary_metrics.", "summaryMetrics.", "summary.")):
        cur, path = r.summary, [key.split(".", 1)[1]]
        if path[0] not in cur:
            path = path[0].split(".")
    else:
        return {
            "group": r.group,
            "jobType": r.job_type,
            "job_type": r.job_type,
            "state": r.state,
            "display_name": r.display_name,
            "displayName": r.display_name,
            "name": r.name,
            "tags": r.tags,
            "created_at": r.created,
            "createdAt": r.created,
            "sweep": r.sweep,
        }.get(key)
    for p in path:
        cur = cur.get(p) if isinstance(cur, dict) else None
    return cur


def _sort_key(r, key):
    x = _get(r, key)
    return (x is None, x if isinstance(x, (int, float)) else str(x))


def _match(f: dict, r: RunRec) -> bool:
    import operator

    ops = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
    for k, want in f.items():
        if k == "$and":
            if not all(_match(x, r) for x in want):
                return False
        elif k == "$or":
            if not any(_match(x, r) for x in want):
                return False
        else:
            got = _get(r, k)
            if not isinstance(want, dict):
                if not (want in got if isinstance(got, list) else got == want):
                    return False
                continue
            for o, w in want.items():
                if o == "$in":
                    ok = any(g in w for g in got) if isinstance(got, list) else got in w
                elif o == "$nin":
                    ok = got not in w
                elif o == "$ne":
                    ok = got != w
                elif o == "$eq":
                    ok = got == w
                elif o == "$regex":
                    ok = bool(re.search(w, str(got)))
                elif o == "$exists":
                    ok = (got is not None) == bool(w)
                elif o in ops:
                    ok = got is not None and ops[o](got, w)
                else:
                    raise ValueError(o)
                if not ok:
                    return False
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, *a):
        self._conns: set[socket.socket] = set()
        super().__init__(*a)

    def process_request(self, request, client_address):
        self._conns.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self._conns.discard(request)
        super().shutdown_request(request)

    def kill_connections(self):
        for c in list(self._conns):
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request, client_address):
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: WandbStub

    def log_message(self, *a):
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            out = b""
            while True:
                n = int(self.rfile.readline().split(b";")[0], 16)
                if n == 0:
                    self.rfile.readline()
                    break
                out += self.rfile.read(n)
                self.rfile.readline()
        else:
            out = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(out) if self.headers.get("Content-Encoding") == "gzip" else out

    def _send(self, code: int, data: bytes | dict = b"", ctype="application/json"):
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
        self.send_response(code)
        self.send_header("Content-Type", ctype)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _go(self):
        o, body = self.owner, self._body()
        u = urllib.parse.urlsplit(self.path)
        qs = urllib.parse.parse_qs(u.query)
        parts = [urllib.parse.unquote(p) for p in u.path.strip("/").split("/")]
        kind, name = "other", u.path
        payload = None
        if u.path == "/graphql":
            payload = json.loads(body)
            m = _OP.search(payload.get("query", ""))
            kind, name = "graphql", m.group(2) if m else "?"
        elif parts[0] == "files" and parts[-1] == "file_stream":
            kind, name = "filestream", parts[3]
        elif parts[0] == "stub":
            kind, name = "file", qs.get("f", ["manifest"])[0]
        o.paths[f"{self.command} {kind}"] += 1
        o.log.append((time.time(), kind, name))
        if o.verbose:
            print(f"[stub] {self.command} {kind} {name} {len(body)}B", flush=True)
        f = o.fault(kind, name) if o.fault else None
        if f == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if isinstance(f, float):
            time.sleep(f)
        elif isinstance(f, int) and f:
            return self._send(f, {"error": f"stub fault {f}"})
        if kind == "graphql":
            return self._send(200, o.graphql(payload))
        if kind == "filestream":
            return self._send(*o.filestream(parts[1], parts[2], parts[3], json.loads(body)))
        if kind == "file":
            with o.lock:
                if parts[1] == "run":
                    store = o.runs[tuple(parts[2:5])].files
                else:
                    store = o.artifacts[parts[2]].files
                if self.command == "PUT":
                    if parts[1] == "art" and "manifest" in qs:
                        o.artifacts[parts[2]].manifest = json.loads(body)
                    else:
                        store[name] = body
                    return self._send(200, b"")
                if name in store:
                    return self._send(200, store[name], "application/octet-stream")
        o.unknown.append((f"{self.command} {self.path}", body[:200].decode("utf8", "replace")))
        return self._send(404, {"error": "stub: no such path"})

    do_GET = do_POST = do_PUT = _go


if __name__ == "__main__":
    import argparse

    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=8899)
    a = p.parse_args()
    s = WandbStub(a.port, verbose=True).start()
    print(f"export WANDB_BASE_URL={s.url} WANDB_API_KEY={API_KEY}", flush=True)
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        s.stop()
        print(dict(s.ops), s.unknown)

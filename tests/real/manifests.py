"""Checks Kubernetes manifests on standard input without a cluster: the schemas of several versions, the
Pod Security Standard `restricted`, that selectors select, and that pods may drain for as long as they want to.
Prints what is wrong and exits with 1. Knows no Kustomize."""

import re
import sys

import kubernetes_validate
import yaml

VERSIONS = ["1.30", "1.34", "1.37"]
# Kinds of operators: their schemas stand in no release of Kubernetes.
WITHOUT_SCHEMA = {"PodMonitor"}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}

wrong = []


def schema(manifest):
    if manifest["kind"] in WITHOUT_SCHEMA:
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except Exception as error:
            wrong.append(f"{version}: {error}")


def restricted(pod):
    outer = pod.get("securityContext", {})
    for key in ["hostNetwork", "hostPID", "hostIPC"]:
        if pod.get(key):
            wrong.append(key)
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            wrong.append(f"volume {volume}")
    for container in pod.get("initContainers", []) + pod["containers"]:
        inner, name = container.get("securityContext", {}), container["name"]
        holds = {
            "allowPrivilegeEscalation": inner.get("allowPrivilegeEscalation") is False,
            "capabilities": inner.get("capabilities") == {"drop": ["ALL"]},
            "runAsNonRoot": inner.get("runAsNonRoot", outer.get("runAsNonRoot")) is True,
            "runAsUser": inner.get("runAsUser", outer.get("runAsUser")) != 0,
            "seccompProfile": inner.get("seccompProfile", outer.get("seccompProfile", {})).get("type") == "RuntimeDefault",
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        }
        wrong.extend(f"{name}: {key}" for key, it in holds.items() if not it)


def selects(what, selector, template):
    labels = template["metadata"]["labels"].items()
    if not selector or not selector.items() <= labels:
        wrong.append(f"{what} selects {selector}, the pods have {dict(labels)}")


def ports_exist(template):
    pod = template["spec"]
    for container in pod.get("initContainers", []) + pod["containers"]:
        names = {port["name"] for port in container.get("ports", [])}
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port and port not in names:
                wrong.append(f"{probe}: no port {port}")


def drains(settings, template):
    pod = template["spec"]
    container = next(it for it in pod["containers"] if it["name"] == "clearspan")
    drain = float(re.search(r"(?m)^drain_seconds = ([\d.]+)$", settings)[1])
    flush = 2
    needs = container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain + flush
    if pod["terminationGracePeriodSeconds"] <= needs:
        wrong.append(f"a pod needs {needs} s to end and gets {pod['terminationGracePeriodSeconds']}")


def check(manifests):
    of = lambda kind: [it for it in manifests if it["kind"] == kind]
    for manifest in manifests:
        schema(manifest)
    deployments = of("Deployment")
    if len(deployments) != 1:
        wrong.append(f"{len(deployments)} Deployments")
    template = deployments[0]["spec"]["template"]
    restricted(template["spec"])
    ports_exist(template)
    selects("Deployment", deployments[0]["spec"]["selector"]["matchLabels"], template)
    for service in of("Service"):
        selects("Service", service["spec"]["selector"], template)
        names = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        if not {port["targetPort"] for port in service["spec"]["ports"]} <= names:
            wrong.append("Service: a port that no container has")
    for kind in ["PodDisruptionBudget", "PodMonitor"]:
        for it in of(kind):
            selects(kind, it["spec"]["selector"]["matchLabels"], template)
    for policy in of("NetworkPolicy"):
        selects("NetworkPolicy", policy["spec"]["podSelector"]["matchLabels"], template)
    for settings in of("ConfigMap"):
        drains(settings["data"]["proxy.toml"], template)


check([it for it in yaml.safe_load_all(sys.stdin) if it])
print("\n".join(wrong))
sys.exit(bool(wrong))

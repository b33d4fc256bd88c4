# SPDX-License-Identifier: Apache-2.0
"""Writes configurations of the bridge (libconfig) from plain Python values."""


class Raw(str):
    """Text that goes into the configuration as it stands."""


def text_of(value, depth=0):
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    indent = "  " * depth
    if isinstance(value, dict):
        inner = "".join(f"{indent}  {name} = {text_of(item, depth + 1)};\n"
                        for name, item in value.items())
        return "{\n" + inner + indent + "}"
    if isinstance(value, (list, tuple)):
        return "( " + ", ".join(text_of(item, depth + 1) for item in value) + " )"
    raise TypeError(f"no configuration value: {value!r}")


def config(name, endpoints, routes, **bridge):
    """A whole file. routes: list of dicts; endpoints: dict of dicts."""
    parts = {"bridge": {"name": name, **bridge}, "endpoints": endpoints, "routes": list(routes)}
    return "".join(f"{part} = {text_of(value)};\n\n" for part, value in parts.items())


def kafka_endpoint(broker, **more):
    return {"backend": "kafka", "brokers": broker.bootstrap, **more}


def rabbit_endpoint(broker, **more):
    return {"backend": "amqp091", "uri": broker.uri, **more}

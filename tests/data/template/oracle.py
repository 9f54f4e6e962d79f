"""Evaluates templates with ansible-core's own Templar: {vars, cases} as JSON in, a list of results as JSON out."""

import datetime
import json
import sys

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template


def trusted(value):
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, list):
        return [trusted(v) for v in value]
    if isinstance(value, dict):
        return {k: trusted(v) for k, v in value.items()}
    return value


def plain(value):
    if isinstance(value, (str, datetime.datetime)):
        return str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def evaluate(templar, text):
    try:
        return {"ok": plain(templar.template(trust_as_template(text)))}
    except Exception as e:  # whatever it is, it is the answer
        return {"error": str(e)[:300]}


def main():
    request = json.load(sys.stdin)
    templar = Templar(loader=DataLoader(), variables=trusted(request["vars"]))
    json.dump([evaluate(templar, case) for case in request["cases"]], sys.stdout)


main()

"""Calls on virtual networks and their subnets."""

from __future__ import annotations

from cloudnet.lab.clouds.azure import bodies, words
from cloudnet.lab.clouds.azure.bodies import Json
from cloudnet.lab.clouds.azure.state import NETWORK, SUBNET, Resource, State
from cloudnet.lab.clouds.simulator import Answer, Request


def get(state: State, request: Request) -> Answer:
    found = state.find(request.path)
    if found is None:
        names = request.parameters
        return words.not_found("Microsoft.Network/virtualNetworks", names["vnet"], names["group"])
    return Answer(200, _shown(state, found), {"Etag": found.etag})


def put(state: State, request: Request) -> Answer:
    before = state.find(request.path)
    if refusal := state.refused(request, request.path, before):
        return refusal
    made = state.put(NETWORK, request.path, request.body)
    for each in request.body["properties"].get("subnets") or []:
        state.put(SUBNET, f"{request.path}/subnets/{each['name']}", each)
    answer = Answer(201, _shown(state, made))  # recorded so for an existing network as well
    return state.accepted(request, made.id, before, answer)


def delete(state: State, request: Request) -> Answer:
    before = state.find(request.path)
    for each in state.inside(request.path):
        state.drop(each.id)
    return state.deleted(request, before)


def list_subnets(state: State, request: Request) -> Answer:
    found = state.inside(request.path.rpartition("/")[0])
    return Answer(200, {"value": [_subnet(each) for each in found]})


def get_subnet(state: State, request: Request) -> Answer:
    found = state.find(request.path)
    return Answer(200, _subnet(found), {"Etag": found.etag}) if found else words.child_not_found(request.path)


def put_subnet(state: State, request: Request) -> Answer:
    before = state.find(request.path)
    if refusal := state.refused(request, request.path, before):
        return refusal
    made = state.put(SUBNET, before.id if before else request.path, request.body)
    return state.accepted(request, made.id, before, Answer(200 if before else 201, _subnet(made)))


def delete_subnet(state: State, request: Request) -> Answer:
    return state.deleted(request, state.find(request.path))


def _shown(state: State, network: Resource) -> Json:
    subnets = [_subnet(each) for each in state.inside(network.id)]
    return bodies.network(network.name, network.id, network.written, subnets, tag=network.etag)


def _subnet(subnet: Resource) -> Json:
    return bodies.subnet(subnet.name, subnet.id, subnet.written, tag=subnet.etag)

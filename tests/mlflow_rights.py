"""What MLflow's plugin ``kubernetes-auth`` asks of the cluster for each request to MLflow, read in its source."""

import re

#: Requests, and the resource and verb of each. Artifacts belong to experiments.
_RULES = (
    (r"GET .*/registered-models/(get|alias)", "registeredmodels", "get"),
    (r"GET .*/registered-models/search", "registeredmodels", "list"),
    (r"POST .*/registered-models/create", "registeredmodels", "create"),
    (r"(POST|PATCH) .*/registered-models/(alias|set-tag|update)", "registeredmodels", "update"),
    (r"GET .*/model-versions/(get|get-download-uri)", "registeredmodels", "get"),
    (r"GET .*/model-versions/search", "registeredmodels", "list"),
    (r"(POST|PATCH) .*/model-versions/(create|set-tag|update)", "registeredmodels", "update"),
    (r"DELETE .*/(registered-models|model-versions)/", "registeredmodels", "delete"),
    (r"GET .*/experiments/get", "experiments", "get"),
    (r"POST .*/experiments/search", "experiments", "list"),
    (r"POST .*/experiments/create", "experiments", "create"),
    (r"GET .*/(artifacts/list|logged-models/[^/]+/artifacts/directories)", "experiments", "list"),
    (r"GET .*/mlflow-artifacts/artifacts/?(\?|$)", "experiments", "list"),
    (r"GET .*/(runs/get|logged-models/[^/]+(\?|$))", "experiments", "get"),
    (r"POST .*/(runs|logged-models)/search", "experiments", "list"),
    (r"POST .*/runs/delete(\?|$)|DELETE .*/(logged-models|mlflow-artifacts)/", "experiments", "delete"),
    (r"(POST|PATCH|PUT|DELETE) .*/(runs|logged-models)(/|\?|$)", "experiments", "update"),
    (r"GET .*/mlflow-artifacts/", "experiments", "get"),
    (r"(PUT|POST) .*/mlflow-artifacts/", "experiments", "update"),
    (r"GET /(health|version|server-info)|GET .*/server-info", "", ""),
)


def rights_of(request: str) -> tuple[str, str]:
    """Return the resource and the verb of a request, a method and a path; two empty texts where none is asked for."""
    found = next(((resource, verb) for pattern, resource, verb in _RULES if re.match(pattern, request)), None)
    assert found, f"no rule for {request}"
    return found

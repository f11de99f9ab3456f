"""KServe's Python server around a bare booster: python serving_kserve.py MODEL REST_PORT GRPC_PORT."""

import sys

import numpy as np
import xgboost
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response


class Booster(Model):
    """What KServe's own XGBoost server does: take the first input as a matrix, and predict."""

    def __init__(self, path: str):
        super().__init__("stock")
        self._booster = xgboost.Booster(model_file=path)
        self.ready = True

    def predict(self, payload, headers=None):
        matrix = np.asarray(get_predict_input(payload), np.float32)
        return get_predict_response(payload, self._booster.inplace_predict(matrix), self.name)


if __name__ == "__main__":
    model, rest, grpc = sys.argv[1:]
    ModelServer(http_port=int(rest), grpc_port=int(grpc), workers=1, access_log_format=None).start([Booster(model)])

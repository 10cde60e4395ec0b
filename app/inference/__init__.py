"""The models in service.

registry         which models serve, and which one serves a request; loads new versions while serving
repository       the models in the models folder
servable         one model in service, with its batcher
shadow_traffic   a candidate model: compared with the answers, never answered with
batcher          many waiting pictures -> one call
predictor        one padded batch -> a backend
backends/        run a network on this machine
remote/          one process runs the networks for several front ends
"""

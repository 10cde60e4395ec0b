"""ModelRegistry in service.

registry         which models serve, and which one a request is for; new versions take their place while serving
repository       what lies in the folder of models
servable         one model in service, with its batcher
shadow_traffic   a candidate beside it, compared and never answered with
batcher          many waiting pictures -> one call
predictor        one padded batch -> a backend
backends/        what runs a network on this machine
"""

"""Makes the SavedModels that the service serves. The path of one training image:

    configs/*.toml -> config     a run as a document
    dataset                      P3M-10k's folders -> pairs -> batches (tf.data)
    augment                      crop, turn, mirror, new background, light, blur, JPEG, noise
    model.u2net                  normalise, seven logit maps
    losses                       deep supervision on soft alphas
    loop, state, history         one compiled step under tf.distribute; checkpoints, exact resume
    validation, progress         what a person sees meanwhile
    export                       best average -> artifact directory, checked against the network
    evaluate, metrics, images    the artifact on a split, scored as P3M-10k does
    import_weights               official PyTorch weights -> artifact (pytorch_checkpoint reads them safely)

Never imports app/. `python -m training --help` lists the commands.
"""

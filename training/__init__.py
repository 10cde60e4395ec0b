"""Makes the SavedModels that the service serves. The path of one training image:

    configs/*.toml -> config      a run as a document
    dataset                       folders -> pairs of paths
    images, masks                 files -> upright photos and mattes: the only readers, for all that follows
    readiness                     every pair looked at once, before the first step
    cache                         decoded and shrunk once
    samples                       pairs -> batches (tf.data), the same however a run is cut or shared
    augment (draws, light)        crop, turn, mirror, new background, light, blur, JPEG, noise
    model.u2net                   normalise, seven logit maps
    losses                        deep supervision on soft alphas
    step (optimizer, schedule)    one compiled step: gradient, all-reduce, clip, AdamW, average
    state (layout), hosts         the run's vectors, on one device or many
    loop, run_dir, signals        steps, validations, checkpoints; exact resume (run_pictures: on the same data)
    validation, watch, progress   what a person sees meanwhile (history, plots, pictures, TensorBoard)
    export                        best average -> artifact directory, checked against the network
    storage, calibration          weights in 32, 16 or 8 bits; what 8 bits cost on calibration_photos
    trimming                      a SavedModel without what only its writer needs
    evaluate, mattes, protocol    the artifact on a split, as served or as P3M-10k's own test
    metrics, connectivity, score  P3M-10k's definitions, for ours and for any tool's mattes
    inspection, pair_check        a look at a data set before hours are spent on it (findings, contact_sheet)
    import_weights                U²-Net's weights from elsewhere -> artifact (official_weights: names and order)
    weight_files                  what a file is, by its content; pytorch_checkpoint and onnx_weights read it
    norm_statistics               batch norm again, from photos, where a file has it folded away
    to_onnx                       artifact -> ONNX file, checked against the artifact

`tensorflow_start` keeps TensorFlow's start-up notes back. Never imports app/. `python -m training --help` lists the
commands, which are in `commands/`.
"""

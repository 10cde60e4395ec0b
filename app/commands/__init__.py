"""What `python -m app` does, once its arguments are read:

    serve      the service, until it is told to stop
        |          crew      several processes behind one port
    key        a new key, and its line for the file of keys
    photos     many photos to many files; how far it got, what failed
        |          belt      a few photos in hand at once, each read, done and written
        |          files     what was typed -> file or folder; whole files in and out
        |          plan      paths -> which photo goes into which file, and what is left out
        |          walk      a folder -> all files below it, also behind links
        |          results   which files earlier runs have made
        |          left_out  what is not done, as one sentence
        |          names     what names of files say
        |          ledger    what of it is done already
        |          failures  those that failed, for people and for scripts
        |          watch     photos of a folder as they come
        |          work      what photos asks of whoever does the photos, and how that fails
        |          local     ... this process, with its own model
        |          remote    ... a running service, through `app.client`
    bulk       the same on the machines of a Ray cluster, through `app.bulk`
    progress   the bar of both
    wish       what is to become of a photo
    options    what may be typed, with its help
    ending     how a command ends

`app.__main__` imports these when it runs them, so that `--help` waits for nothing.
"""

"""`python -m tests.fuzz.fuzz_codec [--seconds N] [folder …]`: any file as a photo, by `codec_target`."""

from __future__ import annotations

from tests.fuzz import campaign, mutators

if __name__ == "__main__":
    campaign.run(
        campaign.Campaign(
            "codec",
            ("tests.fuzz.codec_target", "check_again"),
            ("app.imaging.decode", "app.imaging", "PIL", "pillow_heif"),
            tuple(
                f"PIL.{kind}ImagePlugin"
                for kind in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP")
            ),
            mutators.mutate,
            mutators.cross,
        )
    )

# SPDX-License-Identifier: MIT
"""Every transcript, over TCP and a unix socket, step by step, split at every byte and pipelined.

Each play has a fresh server. The plays run side by side, since most of them wait for a clock or a socket.
"""

import concurrent.futures
import glob
import os
import unittest

import harness
import transcript


def server_name():
    return harness.version_line() if harness.is_reference() else "scootd"


def transcripts():
    here = os.path.dirname(os.path.abspath(__file__))
    return [transcript.Transcript(path, server_name()) for path in sorted(glob.glob(f"{here}/transcripts/*.txt"))]


def play(item, transport, mode):
    with harness.Server(*item.options, transport=transport) as server:
        transcript.Player(server, item, mode).play()


class TranscriptTest(unittest.TestCase):
    def play_all(self, transport):
        items = transcripts()
        self.assertGreater(len(items), 50, "transcripts are missing")
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            plays = [
                (item.name, mode, pool.submit(play, item, transport, mode)) for item in items for mode in item.modes
            ]
            failed = {}
            for name, mode, future in plays:
                if (error := future.exception()) is not None:
                    if not isinstance(error, AssertionError):
                        raise error
                    failed.setdefault(name, []).append(f"{mode}: {error}")
        for name, errors in failed.items():
            with self.subTest(transcript=name, transport=transport):
                self.fail("\n".join(errors))
        print(f"{len(plays)} plays of {len(items)} transcripts over {transport}")

    def test_over_tcp(self):
        self.play_all("tcp")

    def test_over_a_unix_socket(self):
        self.play_all("unix")


if __name__ == "__main__":
    unittest.main()

"""Ask llama.cpp (the `xllamacpp` package) about a GGUF file, in a process of its own.

    answer = llama_client.ask("model.gguf", tokenize=["some text"], logits=[1, 5, 9], greedy=[1, 5, 9])

A file that makes llama.cpp abort then ends that process and not the test runner. What comes back of
the network's output are natural-log probabilities over the whole vocabulary: llama.cpp's server gives
no raw logits, and log-softmax is what remains of them once their common offset is gone.
"""

import http.client
import json
import os
import subprocess
import sys
import urllib.parse

ALL = 1 << 20  # more than any vocabulary here


class ClientError(Exception):
    """llama.cpp refused the file, or crashed on it."""


def available():
    """Whether a client can be started at all."""
    return subprocess.run([sys.executable, "-c", "import xllamacpp"], capture_output=True).returncode == 0


def ask(model, tokenize=(), parse=(), logits=(), greedy=(), count=16, threads=2, timeout=120):
    """Load `model` and return a dict:

    tokens             ids of each text of `tokenize`: no special token added, none parsed in the text
    parsed             ids of each text of `parse`: BOS or EOS added as the file says, special texts parsed
    log_probabilities  one row a position of `logits` (token ids): the log-softmax over the vocabulary
    greedy, text       the `count` most likely ids after `greedy` (token ids), and their text
    """
    request = {
        "model": str(model),
        "tokenize": list(tokenize),
        "parse": list(parse),
        "logits": [int(i) for i in logits],
        "greedy": [int(i) for i in greedy],
        "count": count,
        "threads": threads,
    }
    try:
        child = subprocess.run(
            [sys.executable, os.path.abspath(__file__)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise ClientError(f"{model}: llama.cpp did not answer within {timeout} s") from error
    if child.returncode != 0:
        last = child.stderr.decode(errors="replace").strip().split("\n")[-12:]
        raise ClientError(f"{model}: llama.cpp ended with status {child.returncode}\n" + "\n".join(last))
    return json.loads(child.stdout)


class Session:
    """The child's side: a server inside the process, asked through its loopback port."""

    def __init__(self, model, threads):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = model
        params.n_ctx = 512
        params.n_parallel = 1
        params.warmup = False
        params.check_tensors = True
        params.port = 0  # any free one
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        # The default would keep keys and values as F16, which costs precision that is not the file's.
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(params)
        self.address = urllib.parse.urlparse(self.server.listening_address).netloc

    def post(self, path, body):
        connection = http.client.HTTPConnection(self.address, timeout=100)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path}: {content.decode(errors='replace')}")
        return json.loads(content)

    def tokenize(self, text, special):
        body = {"content": text, "add_special": special, "parse_special": special}
        return self.post("/tokenize", body)["tokens"]

    def complete(self, ids, count, **options):
        return self.post(
            "/completion",
            {
                "prompt": ids,
                "n_predict": count,
                "temperature": 0,
                "cache_prompt": True,
                "return_tokens": True,
                **options,
            },
        )

    def next_log_probabilities(self, ids):
        # No probabilities are reported for a token that ends the text or is half a character, so
        # the choice is forced onto a letter; what is reported are the probabilities before that.
        letter = self.tokenize("a", special=False)[-1]
        reply = self.complete(ids, 1, n_probs=ALL, logit_bias=[[letter, 1e6]])
        entries = reply["completion_probabilities"][0]["top_logprobs"]
        row = [None] * len(entries)
        for entry in entries:
            row[entry["id"]] = entry["logprob"]
        return row


def answer(request):
    session = Session(request["model"], request["threads"])
    ids, start = request["logits"], request["greedy"]
    reply = {
        "tokens": [session.tokenize(text, special=False) for text in request["tokenize"]],
        "parsed": [session.tokenize(text, special=True) for text in request["parse"]],
        "log_probabilities": [session.next_log_probabilities(ids[:n]) for n in range(1, len(ids) + 1)],
    }
    if start:
        continuation = session.complete(start, request["count"])
        reply["greedy"], reply["text"] = continuation["tokens"], continuation["content"]
    return reply


def main():
    reply_file = os.dup(1)
    os.dup2(2, 1)  # llama.cpp may print what it likes
    reply = json.dumps(answer(json.load(sys.stdin)))
    with os.fdopen(reply_file, "w") as file:
        file.write(reply)
    os._exit(0)  # skips the server's slow farewell; the reply is out


if __name__ == "__main__":
    main()

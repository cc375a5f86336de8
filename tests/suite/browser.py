"""Opens a page in a headless Chromium and does what standard input says, by the WebDriver protocol.

Usage: browser.py PAGE < STEPS

The steps are a list in JSON: `{"run": SCRIPT}` runs JavaScript and gives what it returns, `{"click": SELECTOR}`,
`{"type": [SELECTOR, TEXT]}`, `{"keys": TEXT}` types where the focus is, `{"picture": FILE}` saves what is seen. Prints a list of
what came of each; at its end is what the browser's console says.
"""

import base64
import json
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

# The name of an element in the protocol.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"]


class Driver:
    """A session of chromedriver."""

    def __init__(self, port):
        self.address = f"http://127.0.0.1:{port}/session"
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": OPTIONS},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self.post("", {"capabilities": {"alwaysMatch": wanted}})
        self.address += f"/{session['sessionId']}"

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{path}: {error.read().decode()}")

    def post(self, path, body):
        return self.call("POST", path, body)

    def element(self, selector):
        found = self.post("/element", {"using": "css selector", "value": selector})
        return f"/element/{found[ELEMENT]}"

    def step(self, step):
        (kind, argument), = step.items()
        if kind == "run":
            return self.post("/execute/sync", {"script": argument, "args": []})
        if kind == "click":
            return self.post(self.element(argument) + "/click", {})
        if kind == "type":
            selector, text = argument
            return self.post(self.element(selector) + "/value", {"text": text})
        if kind == "keys":
            active = self.call("GET", "/element/active")
            return self.post(f"/element/{active[ELEMENT]}/value", {"text": argument})
        if kind == "picture":
            picture = base64.b64decode(self.call("GET", "/screenshot"))
            return pathlib.Path(argument).write_bytes(picture)
        return sys.exit(f"there is no step {kind}")


def main():
    page = pathlib.Path(sys.argv[1]).resolve().as_uri()
    steps = json.load(sys.stdin)
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            # "ChromeDriver was started successfully on port 34567."
            port = next(line.rstrip(".\n").split()[-1] for line in server.stdout if "successfully on port" in line)
            driver = Driver(port)
            try:
                driver.post("/url", {"url": page})
                results = [driver.step(step) for step in steps]
                messages = [entry["message"] for entry in driver.post("/se/log", {"type": "browser"})]
            finally:
                # It ends the browser.
                driver.call("DELETE", "")
        finally:
            server.terminate()
    print(json.dumps([*results, messages]))


if __name__ == "__main__":
    main()

"""Layouts of checkouts, images, package managers and tools: where the files of their paths are."""

from __future__ import annotations

import pytest

from tests.combinations import ON_SQLITE
from tests.scm.code_mappings.test_derive import AddRepository, add_repository, derive
from tests.scm.support import Scm, Tenant

__all__ = ["add_repository"]  # a fixture

BAZEL = "/home/u/.cache/bazel/_bazel_u/1"
RUNFILES = f"{BAZEL}/execroot/_main/bazel-out/k8/bin/services/x/main.runfiles/_main"

# A name, the files of repositories, and paths with the files that they mean; an empty one is not ours, or nowhere.
LAYOUTS: list[tuple[str, dict[str, list[str]], dict[str, str]]] = [
    (
        "yarn pnp",
        {"acme/ui": ["src/a.ts"], "acme/web": ["src/b.ts"]},
        {
            "/app/.yarn/cache/@acme-ui-npm-1.0.0-abc.zip/node_modules/@acme/ui/src/a.ts": "src/a.ts",
            "/app/.yarn/cache/express-npm-4-abc.zip/node_modules/express/lib/b.ts": "",
        },
    ),
    (
        "go's own tree",
        {"acme/two": ["acme/shop/main.go", "cart/backend/c.js"]},
        {
            "/usr/local/go/src/acme/shop/main.go": "",
            "/opt/homebrew/Cellar/go/1.22.1/libexec/src/acme/shop/main.go": "",
            "C:\\Program Files\\Go\\src\\acme\\shop\\main.go": "",
            "/home/kim/go/src/acme/shop/main.go": "acme/shop/main.go",
            "/go/pkg/mod/github.com/other/one@v0.1.0/cart/backend/c.js": "",
        },
    ),
    (
        "lambda",
        {"acme/fn": ["handler.py", "shop/cart.py"]},
        {
            "/var/task/shop/cart.py": "shop/cart.py",
            "/var/task/handler.py": "handler.py",
            "/var/runtime/bootstrap.py": "",
            "/var/lang/lib/python3.12/json/decoder.py": "",
        },
    ),
    (
        "heroku",
        {"acme/web": ["shop/cart.py", "manage.py"]},
        {
            "/app/shop/cart.py": "shop/cart.py",
            "/app/.heroku/python/lib/python3.12/json/x.py": "",
            "/app/manage.py": "manage.py",
        },
    ),
    (
        "buildpack",
        {"acme/web": ["shop/cart.py"]},
        {
            "/workspace/shop/cart.py": "shop/cart.py",
            "/layers/google.python.pip/pip/lib/python3.12/site-packages/flask/app.py": "",
        },
    ),
    (
        "bazel",
        {"acme/mono": ["services/x/main.py", "libs/y/z.py"]},
        {
            f"{RUNFILES}/services/x/main.py": "services/x/main.py",
            f"{RUNFILES}/libs/y/z.py": "libs/y/z.py",
            f"{BAZEL}/external/pip_requests/site-packages/requests/models.py": "",
        },
    ),
    (
        "gradle",
        {"acme/app": ["app/src/main/java/com/acme/app/core/A.java", "lib/src/main/kotlin/com/acme/app/lib/B.kt"]},
        {
            "com/acme/app/core/A.java": "app/src/main/java/com/acme/app/core/A.java",
            "com/acme/app/lib/B.kt": "lib/src/main/kotlin/com/acme/app/lib/B.kt",
        },
    ),
    (
        "next",
        {"acme/web": ["app/[slug]/page.tsx", "app/page.tsx", "lib/db.ts"]},
        {
            "webpack-internal:///(rsc)/./app/[slug]/page.tsx": "app/[slug]/page.tsx",
            "webpack-internal:///(rsc)/./lib/db.ts": "lib/db.ts",
            "webpack:///./node_modules/react/index.js": "",
        },
    ),
    (
        "go vendor",
        {"acme/svc": ["cmd/svc/main.go"], "acme/log": ["log.go"]},
        {
            "/src/vendor/github.com/acme/log/log.go": "log.go",
            "/src/vendor/github.com/pkg/errors/errors.go": "",
            "/src/cmd/svc/main.go": "cmd/svc/main.go",
        },
    ),
    (
        "go trim",
        {"acme/svc": ["cart/cart.go", "main.go"]},
        {
            "example.com/goapp/cart/cart.go": "cart/cart.go",
            "example.com/goapp/main.go": "main.go",
            "sort/slice.go": "",
            "github.com/x/y@v1.2.3/main.go": "",
        },
    ),
    (
        "php",
        {
            "acme/site": ["app/Models/A.php", "resources/views/vendor/mail/h.blade.php"],
            "acme/money": ["src/Money.php"],
        },
        {
            "/var/www/html/app/Models/A.php": "app/Models/A.php",
            "/var/www/html/vendor/acme/money/src/Money.php": "src/Money.php",
            "/var/www/html/vendor/laravel/framework/src/Illuminate/A.php": "",
            "/var/www/html/resources/views/vendor/mail/h.blade.php": "resources/views/vendor/mail/h.blade.php",
        },
    ),
    (
        "ruby",
        {"acme/shop": ["app/models/a.rb", "lib/active_record/core.rb"], "acme/tools": ["lib/tools/x.rb"]},
        {
            "/app/app/models/a.rb": "app/models/a.rb",
            "/usr/local/bundle/gems/activerecord-7.1.2/lib/active_record/core.rb": "",
            "/usr/local/bundle/gems/tools-1.0.0/lib/tools/x.rb": "lib/tools/x.rb",
            "/usr/local/lib/ruby/3.2.0/json/common.rb": "",
        },
    ),
    (
        "cargo",
        {"acme/app": ["src/main.rs", "src/lib.rs"], "acme/core": ["src/x.rs"]},
        {
            "/app/src/main.rs": "src/main.rs",
            "/root/.cargo/registry/src/index.crates.io-6f17d22bba15001f/serde-1.0.0/src/lib.rs": "",
            "/root/.cargo/git/checkouts/core-3f1a2b3c4d5e6f70/1a2b3c4/src/x.rs": "src/x.rs",
            "/rustc/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/library/std/src/lib.rs": "",
        },
    ),
    (
        "swift",
        {"acme/ios": ["Sources/App/A.swift"], "acme/kit": ["Sources/Kit/K.swift"]},
        {
            "/app/Sources/App/A.swift": "Sources/App/A.swift",
            "/app/.build/checkouts/kit/Sources/Kit/K.swift": "Sources/Kit/K.swift",
            "/app/.build/checkouts/swift-nio/Sources/NIO/A.swift": "",
        },
    ),
    (
        "dart",
        {"acme/app": ["lib/a.dart", "bin/m.dart"], "acme/http2": ["lib/src/client.dart"]},
        {"/root/.pub-cache/hosted/pub.dev/http-1.0.0/lib/src/client.dart": "", "/app/bin/m.dart": "bin/m.dart"},
    ),
    (
        "hex",
        {"acme/app": ["lib/app/a.ex"], "acme/kit": ["lib/kit.ex"]},
        {
            "lib/app/a.ex": "lib/app/a.ex",
            "/app/deps/phoenix/lib/phoenix/router.ex": "",
            "/app/deps/kit/lib/kit.ex": "lib/kit.ex",
        },
    ),
    (
        "umbrella",
        {"acme/um": ["apps/shop/lib/shop/a.ex", "apps/web/lib/web/b.ex"]},
        {"lib/shop/a.ex": "apps/shop/lib/shop/a.ex", "lib/web/b.ex": "apps/web/lib/web/b.ex"},
    ),
    (
        "windows drives",
        {"acme/app": ["src/main/app.py", "tools/x.py"]},
        {"D:\\a\\app\\app\\src\\main\\app.py": "src/main/app.py", "C:/build/app/tools/x.py": "tools/x.py"},
    ),
    (
        "two checkouts",
        {"acme/api": ["api/views.py", "manage.py"], "acme/web": ["web/views.py", "manage.py"]},
        {
            "/home/kim/api/api/views.py": "api/views.py",
            "/home/kim/web/web/views.py": "web/views.py",
            "/home/kim/web/manage.py": "manage.py",
        },
    ),
    (
        "egg",
        {"acme/lib": ["acme_lib/x.py"]},
        {"/x/acme_lib-1.0-py3.11.egg/acme_lib/x.py": "acme_lib/x.py", "/x/other-1.0-py3.11.egg/other/x.py": ""},
    ),
    (
        "editable",
        {"acme/lib": ["src/acme_lib/x.py", "src/acme_lib/y.py"]},
        {"/home/kim/lib/src/acme_lib/x.py": "src/acme_lib/x.py"},
    ),
    (
        "zipapp",
        {"acme/cli": ["acme_cli/x.py", "__main__.py"]},
        {
            "/usr/local/bin/acme.pyz/acme_cli/x.py": "acme_cli/x.py",
            "/usr/local/bin/acme.pyz/__main__.py": "__main__.py",
        },
    ),
    (
        "pnpm",
        {"acme/ui": ["src/K.tsx"]},
        {
            "/app/node_modules/.pnpm/@acme+ui@1.0.0/node_modules/@acme/ui/src/K.tsx": "src/K.tsx",
            "/app/node_modules/.pnpm/react@18/node_modules/react/src/K.tsx": "",
        },
    ),
    (
        "multi-stage",
        {"acme/mono": ["services/api/src/index.ts", "services/api/src/db.ts", "services/web/src/index.ts"]},
        {"/srv/src/db.ts": "services/api/src/db.ts", "/srv/src/index.ts": "services/api/src/index.ts"},
    ),
    (
        "own python folder",
        {"acme/mono": ["python/lib/foo.py", "python3/lib/bar.py"]},
        {"/app/python/lib/foo.py": "python/lib/foo.py", "C:\\work\\python3\\lib\\bar.py": "python3/lib/bar.py"},
    ),
    (
        "own vendor",
        {"acme/shop": ["modules/vendor/controllers/VendorController.php", "shop/vendor/views.py"]},
        {
            "/app/modules/vendor/controllers/VendorController.php": "modules/vendor/controllers/VendorController.php",
            "/app/shop/vendor/views.py": "shop/vendor/views.py",
        },
    ),
    ("deps", {"acme/api": ["app/deps/auth.py"]}, {"/srv/app/deps/auth.py": "app/deps/auth.py"}),
    ("gems folder", {"acme/mono": ["gems/tools/lib/t.rb"]}, {"/app/gems/tools/lib/t.rb": "gems/tools/lib/t.rb"}),
    (
        "nix",
        {"acme/app": ["acme/x.py"]},
        {
            "/nix/store/abc-python3.11-acme-1.0/lib/python3.11/site-packages/acme/x.py": "acme/x.py",
            "/nix/store/abc-python3-3.11.6/lib/python3.11/acme/x.py": "",
        },
    ),
    (
        "uv",
        {"acme/app": ["json/decoder.py"]},
        {
            "/root/.local/share/uv/python/cpython-3.12.1-linux-x86_64-gnu/lib/python3.12/json/decoder.py": "",
            "C:\\Roaming\\uv\\python\\cpython-3.12.1-windows-x86_64-none\\Lib\\json\\decoder.py": "",
        },
    ),
    (
        "jni c",
        {"acme/nat": ["src/a.cc", "include/a.hpp"]},
        {"/build/src/a.cc": "src/a.cc", "/usr/include/c++/12/bits/a.hpp": ""},
    ),
    (
        "vue",
        {"acme/web": ["src/App.vue", "src/components/Cart.vue"]},
        {"webpack:///./src/components/Cart.vue": "src/components/Cart.vue", "webpack:///./src/App.vue": "src/App.vue"},
    ),
    ("spark", {"acme/s": ["pier/b.py"]}, {"/mnt/yarn/usercache/x/pier.zip/pier/b.py": "pier/b.py"}),
]


@ON_SQLITE
@pytest.mark.parametrize(("files", "paths"), [row[1:] for row in LAYOUTS], ids=[row[0] for row in LAYOUTS])
def test_layouts(
    scm: Scm, ours: Tenant, add_repository: AddRepository, files: dict[str, list[str]], paths: dict[str, str]
) -> None:
    for name, its in files.items():
        add_repository(name, its)
    for _ in range(2):
        outcomes = derive(scm, ours, *paths).outcomes
        assert {outcome.path: outcome.source_path for outcome in outcomes} == paths

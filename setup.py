"""Build of the native extensions and of the protobuf stubs.

Everything else about the package is in pyproject.toml. Two steps run before setuptools sees a source:

* `_native/` is mirrored to `prism_proxy/_native/`, because Cython resolves `cimport` by package path and the
  installed name is `prism_proxy._native`. The mirror is ignored by git; edit `_native/` only.
* `proto/` is compiled to the top-level package `prism`, whose module names follow the file names of the contract; the
  thin interfaces in it become data in `prism.interfaces.catalogue`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
SOURCES = ROOT / "_native"
STAGE = ROOT / "prism_proxy" / "_native"
SOURCE_SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".c", ".h"}

# Every .pyx below `_native/` is an extension; these link a library too, or have C sources of their own.
LIBRARIES = {
    "crypto.aead": ["crypto"],
    "grpc.wire": ["z"],
    "http2.inspector": ["nghttp2"],
    "http2.session": ["nghttp2"],
    "http2.session_options": ["nghttp2"],
    "runtime.crc32": ["z"],
}
C_SOURCES = {"memstore.store": "memstore/*.c"}
HEADERS = {"nghttp2/nghttp2.h": "libnghttp2-dev", "openssl/evp.h": "libssl-dev", "zlib.h": "zlib1g-dev"}
CORES = os.cpu_count() or 1
SANITIZE = os.environ.get("PRISM_SANITIZE") == "1"


def copy_if_changed(source: Path, target: Path) -> None:
    """Copy `source` over `target` only when the bytes differ, so that incremental builds stay incremental."""
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def stage_native() -> None:
    """Mirror `_native/` to the package path the extensions are installed under."""
    kept = {path.relative_to(SOURCES) for path in SOURCES.rglob("*") if path.suffix in SOURCE_SUFFIXES}
    for path in kept:
        copy_if_changed(SOURCES / path, STAGE / path)
    modules = {path.with_suffix("") for path in kept}
    for path in STAGE.rglob("*.*"):  # what is left of a source that was moved or deleted would still be imported
        if path.is_file() and path.relative_to(STAGE).with_name(path.name.partition(".")[0]) not in modules:
            path.unlink()


def generate_stubs() -> None:
    """Compile every file of `proto/` into the package `prism` (messages, type stubs, gRPC services)."""
    import grpc_tools
    from grpc_tools import protoc

    protos = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto"))
    stage = ROOT / "build" / "stubs"
    stage.mkdir(parents=True, exist_ok=True)
    outputs = [f"--{kind}_out={stage}" for kind in ("python", "pyi", "grpc_python")]
    described = ROOT / "build" / "descriptors.bin"
    outputs += [f"--descriptor_set_out={described}", "--include_imports", "--include_source_info"]
    includes = [f"-I{ROOT / 'proto'}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    if protoc.main(["protoc", *includes, *outputs, *protos]) != 0:
        sys.exit("prism: the files of proto/ do not compile; see the message of protoc above")
    (stage / "prism" / "interfaces" / "catalogue.py").write_text(catalogue(described))
    for source in stage.rglob("*.py*"):
        if source.suffix in SOURCE_SUFFIXES:
            copy_if_changed(source, ROOT / source.relative_to(stage))
    for folder in {p.parent for p in (ROOT / "prism").rglob("*.py")} | {ROOT / "prism"}:
        while folder != ROOT:
            (folder / "__init__.py").touch()
            folder = folder.parent


def catalogue(described: Path) -> str:
    """The thin interfaces of a descriptor set as the source of a module of plain data."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    sys.path.insert(0, str(ROOT))
    from prism_proxy.interfaces.descriptors import interfaces_of

    pool, found = descriptor_pool.DescriptorPool(), []
    for file in descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file:
        pool.Add(file)
        comments = [place.leading_comments for place in file.source_code_info.location if list(place.path) == [2]]
        doc = " ".join("".join(comments).split()).partition(". ")[0].rstrip(".") + "."
        found += interfaces_of(pool.FindFileByName(file.name), doc)
    rows = [(item.name, item.model, item.service, item.proto, item.doc, tuple(
        (method.name, method.request, method.effect, method.request_streams, method.reply_streams)
        for method in item.methods)) for item in sorted(found, key=lambda item: (item.model, item.name))]
    lines = "".join(f"    {row!r},\n" for row in rows)
    return f'"""Made by the build from proto/."""\n\nINTERFACES = (\n{lines})\n'


def extensions() -> list[Extension]:
    if SANITIZE:
        flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    else:
        # Ours would come after the user's, and win. Line numbers are enough for a backtrace: full debugging
        # information (-g, from Python's own flags) costs a quarter of the compile time.
        flags = ["-g1"] if "-O" in os.environ.get("CFLAGS", "") else ["-O3", "-g1"]
    headers = [str(path.relative_to(ROOT)) for path in sorted(STAGE.rglob("*.h"))]
    made = []
    for source in sorted(SOURCES.rglob("*.pyx")):
        module = ".".join(source.relative_to(SOURCES).with_suffix("").parts)
        sources = [source, *(sorted(SOURCES.glob(C_SOURCES[module])) if module in C_SOURCES else [])]
        made.append(Extension(
            f"prism_proxy._native.{module}",
            [str((STAGE / path.relative_to(SOURCES)).relative_to(ROOT)) for path in sources],
            libraries=LIBRARIES.get(module, []),
            include_dirs=["prism_proxy/_native"],
            depends=headers,
            extra_compile_args=[*flags, "-std=gnu11", "-Wno-unused-function"],
            extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
        ))
    return made


class BuildNative(build_ext):
    """build_ext that first proves the compiler and the headers are there, naming the Debian package otherwise.

    It uses all cores, and an editable install keeps its objects in `build/` as every other build in place does: what
    one of them compiled, the others find.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or CORES
        if self.editable_mode:
            own = self.distribution.get_command_class("build")(self.distribution)
            own.ensure_finalized()
            self.build_lib, self.build_temp = own.build_platlib, own.build_temp

    def build_extensions(self) -> None:
        self._require_toolchain()
        self._translate()
        self.extensions.sort(key=lambda extension: -sum(Path(name).stat().st_size for name in extension.sources))
        super().build_extensions()

    def _translate(self) -> None:
        """Cython to C; here, because a build that lacks its compiler shall say so first, and metadata needs no C."""
        from Cython.Build import cythonize

        directives = {"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True,
                      "initializedcheck": False, "binding": False}
        translated = cythonize([*self.extensions], compiler_directives=directives, annotate=False, quiet=True,
                               nthreads=CORES)
        for extension, made in zip(self.extensions, translated, strict=True):
            extension.sources = made.sources

    def _require_toolchain(self) -> None:
        compiler = self.compiler.compiler_so[0]
        if shutil.which(compiler) is None:
            sys.exit(f"prism: the C compiler '{compiler}' is missing: apt-get install build-essential")
        probe = Path(self.build_temp) / "probe.c"
        probe.parent.mkdir(parents=True, exist_ok=True)
        for header, package in {**HEADERS, "Python.h": "python3-dev"}.items():
            probe.write_text(f"#include <{header}>\n")
            command = [*self.compiler.compiler_so, *(f"-I{d}" for d in self.compiler.include_dirs), "-E", str(probe)]
            if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                sys.exit(f"prism: the header {header} is missing: apt-get install {package}")


stage_native()
generate_stubs()
setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})

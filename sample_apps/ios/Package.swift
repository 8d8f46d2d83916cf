// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "EdgeBundle",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "EdgeBundle", targets: ["EdgeBundle"])],
    targets: [
        .target(name: "EdgeBundle", path: "Sources/EdgeBundle"),
        .testTarget(name: "EdgeBundleTests", dependencies: ["EdgeBundle"], path: "Tests/EdgeBundleTests"),
    ]
)

import EdgeBundle
import PhotosUI
import SwiftUI
import UniformTypeIdentifiers

/// One screen: what the bundle is, an input, the classes, and the self-test.
struct ContentView: View {
    @ObservedObject var classifier: Classifier
    @State private var texts = ["", ""]
    @State private var picture: PhotosPickerItem?
    @State private var choosing = false

    private static let shown = 5

    var body: some View {
        NavigationStack {
            Form {
                Section { Text(classifier.about) }
                if let kind = classifier.kind {
                    Section { input(kind) }
                    Section { Button("Self-test") { Task { await classifier.selfTest() } } }
                }
                Section {
                    ForEach(classifier.classes.prefix(Self.shown)) { scored in
                        LabeledContent(scored.label, value: scored.probability, format: .percent.precision(.fractionLength(1)))
                    }
                    if !classifier.message.isEmpty { Text(classifier.message) }
                }
            }
            .disabled(classifier.busy)
            .navigationTitle("edgeexport sample")
        }
    }

    @ViewBuilder
    private func input(_ kind: Classifier.Kind) -> some View {
        switch kind {
        case .texts(let count):
            ForEach(0..<min(count, texts.count), id: \.self) { number in
                TextField("A text", text: $texts[number], axis: .vertical)
            }
            Button("Classify") { Task { await classifier.classify(texts: Array(texts.prefix(count))) } }
        case .picture:
            PhotosPicker("Choose a picture", selection: $picture, matching: .images)
                .onChange(of: picture) { _, item in
                    Task {
                        if let data = try? await item?.loadTransferable(type: Data.self) {
                            await classifier.classify(picture: data)
                        }
                    }
                }
        case .recording:
            Button("Choose a recording") { choosing = true }
                .fileImporter(isPresented: $choosing, allowedContentTypes: [.wav]) { result in
                    if case .success(let file) = result { Task { await classifier.classify(recording: file) } }
                }
        case .arrays:
            Text("The model takes arrays, which are for your own code.")
        }
    }
}

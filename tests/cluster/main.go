// The control plane for the tests: etcd, kube-apiserver, kube-controller-manager, kube-proxy
// and kubectl as one program, and three small helpers. The first argument says which; so does the name of a link to it.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
)

// Each runs with os.Args as if it were a program of its own, and gives its exit code.
var programs = map[string]func() int{
	"etcd":                    etcd,
	"kube-apiserver":          command(apiserver.NewAPIServerCommand),
	"kube-controller-manager": command(controllers.NewControllerManagerCommand),
	"kube-proxy":              command(proxy.NewProxyCommand),
	"kubectl":                 runKubectl,
	"service-account-key":     serviceAccountKey,
	"client-certificate":      clientCertificate,
	"compact":                 compact,
}

func main() {
	run, err := choose()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(run())
}

// choose finds the program by the name it was called by, or else by the first argument, which it
// takes off os.Args.
func choose() (func() int, error) {
	if run, ok := programs[filepath.Base(os.Args[0])]; ok {
		return run, nil
	}
	if len(os.Args) > 1 {
		if run, ok := programs[os.Args[1]]; ok {
			os.Args = os.Args[1:]
			return run, nil
		}
	}
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	sort.Strings(names)
	return nil, errors.New("usage: control-plane " + strings.Join(names, "|") + " [flags]")
}

func etcd() int {
	etcdmain.Main(os.Args)
	return 0
}

func command(build func() *cobra.Command) func() int {
	return func() int { return cli.Run(build()) }
}

// kubectl prints its errors itself; cli.Run would say them twice.
func runKubectl() int {
	return failed(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
}

// serviceAccountKey prints a new key that tokens of service accounts are signed with.
func serviceAccountKey() int {
	_, err := printKey()
	return failed(err)
}

func printKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, pem.Encode(os.Stdout, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// clientCertificate prints a new key and a certificate of it for a user of the name that is given.
// It is its own authority: who trusts that trusts this certificate and no other.
func clientCertificate() int {
	if len(os.Args) != 2 {
		return failed(errors.New("usage: client-certificate USER"))
	}
	key, err := printKey()
	if err != nil {
		return failed(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return failed(err)
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: os.Args[1]},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return failed(err)
	}
	return failed(pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// compact makes etcd, at the address that is given, forget all history: whoever watches from an
// older version is told 410.
func compact() int {
	client, err := clientv3.New(clientv3.Config{Endpoints: os.Args[1:], DialTimeout: 10 * time.Second})
	if err != nil {
		return failed(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// Any key tells the newest revision.
	answer, err := client.Get(ctx, "any")
	if err != nil {
		return failed(err)
	}
	_, err = client.Compact(ctx, answer.Header.Revision)
	return failed(err)
}

func failed(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}
